"""The `mipi` command. A mistake of the user ends with one message and exit code 2, Ctrl-C with 130.

Each command is a file of mipi_pl/commands/ with its lines of help, ``USAGE``, and ``run(arguments)``. Heavy imports
wait inside ``run`` until it is known that they are needed: `mipi --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from mipi_pl.utils.errors import FailedError, UserError

COMMANDS = (
    "train",
    "resume",
    "eval",
    "watch",
    "export",
    "runs",
    "report",
    "reproduce",
    "compositions",
    "theory",
    "dashboard",
    "doctor",
)
"""In the order of `mipi --help`."""

_HELP = """\
mipi: train agents that cooperate in teams they have never seen

{usage}
  mipi --version

Every run writes to its own folder below outputs/; outputs/latest is the newest."""

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; what the console script `mipi` calls.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command, *rest = arguments or ["--help"]
    if command in ("--help", "-h", "help"):
        print(_help())
        return OK
    if command == "--version":
        print(f"mipi {version('mipi-pl')}")
        return OK
    if command not in COMMANDS:
        return _complain(f"unknown command {command!r}; there are: {', '.join(COMMANDS)}; see mipi --help")
    try:
        import_module(f"mipi_pl.commands.{command}").run(rest)
    except UserError as error:
        return _complain(error)
    except FailedError as error:
        return _complain(error, FAILED)
    except SystemExit as end:  # after --help; Hydra's way to end, also after a job of a multirun that failed
        return end.code if isinstance(end.code, int) else OK
    except BrokenPipeError:
        # The reader, such as `head`, has gone. Nothing may be written any more, not even by Python's own clean-up.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt as interrupt:
        if _process() == 0:
            print(f"\n{interrupt or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    return OK


def _help() -> str:
    usages = (import_module(f"mipi_pl.commands.{command}").USAGE for command in COMMANDS)
    return _HELP.format(usage="\n".join(f"  {line}" for usage in usages for line in usage.splitlines()))


def _complain(message: str | Exception, code: int = USAGE) -> int:
    # What ends all processes of a run is told by the first.
    if _process() > 0 and (code == FAILED or getattr(message, "told", False)):
        return code
    # Libraries write their messages in several lines.
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    who = f"mipi (process {_process()})" if _process() > 0 else "mipi"
    print(f"{who}: {'; '.join(lines)}", file=sys.stderr)
    return code


def _process() -> int:
    # Where no processes were connected, PyTorch may not even have been imported.
    return sys.modules["mipi_pl.distributed"].rank() if "mipi_pl.distributed" in sys.modules else 0


if __name__ == "__main__":
    sys.exit(main())
