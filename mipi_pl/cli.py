"""The `mipi` command. A mistake of the user ends with one message and exit code 2, Ctrl-C with 130.

Each command is a file of mipi_pl/commands/ with two functions: ``declare`` names its arguments, ``run`` does the work.
Heavy imports wait inside ``run``, so that `mipi --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from mipi_pl.commands.options import Parser
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

_EPILOG = """\
mipi COMMAND --help says more about a command. A first run: mipi train experiment=quickstart

Every run writes to its own folder below outputs/; outputs/latest is the newest."""

OK, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; what the console script `mipi` calls.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    try:
        options = _read(list(sys.argv[1:] if arguments is None else arguments))
        options.run(options)
    except UserError as error:
        return _complain(error, MISTAKE)
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


def _read(words: list[str]) -> Namespace:
    first = words[0] if words else "help"
    if first == "help":
        words = ["--help"]
    elif first not in (*COMMANDS, "--help", "-h", "--version"):
        raise UserError(f"unknown command {first!r}; there are: {', '.join(COMMANDS)}; see mipi --help")
    return _parser().parse_args(words)


def _parser() -> Parser:
    parser = Parser(
        prog="mipi", description="Train agents that cooperate in teams they have never seen.", epilog=_EPILOG
    )
    parser.add_argument("--version", action="version", version=f"mipi {version('mipi-pl')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        import_module(f"mipi_pl.commands.{command}").declare(commands.add_parser)
    return parser


def _complain(error: UserError | FailedError, code: int) -> int:
    # What ends all processes of a run is told by the first.
    if _process() > 0 and (code == FAILED or getattr(error, "told", False)):
        return code
    # Libraries write their messages in several lines.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    who = f"mipi (process {_process()})" if _process() > 0 else "mipi"
    print(f"{who}: {'; '.join(lines)}", file=sys.stderr)
    return code


def _process() -> int:
    # Where no processes were connected, PyTorch may not even have been imported.
    return sys.modules["mipi_pl.distributed"].rank() if "mipi_pl.distributed" in sys.modules else 0


if __name__ == "__main__":
    sys.exit(main())
