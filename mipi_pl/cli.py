"""The `mipi` command.

A user error prints one message and exits with code 2, a failure with code 1, and Ctrl-C with code 130.

Each command is a module in mipi_pl/commands/ with two functions: ``declare`` adds its parser and ``run`` executes it.
Slow imports are inside ``run``, so that `mipi --help` is fast.
"""

from __future__ import annotations

import errno
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module

from mipi_pl.commands import COMMANDS, module_of
from mipi_pl.commands.options import Parser, ShowVersion
from mipi_pl.utils.errors import (
    DivergedError,
    FailedError,
    UserError,
    WorldFaultError,
    did_you_mean,
    is_reported,
    marked_as,
)
from mipi_pl.utils.memory import ShortageError, is_shortage
from mipi_pl.utils.output import LostOutputError, standard_streams

_EPILOG = """\
Help on a command: mipi COMMAND --help. A first run: mipi train experiment=quickstart

Every run writes to its own folder below outputs/; outputs/latest is the newest run."""

OK, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130
_MAX_THREADS = 4096


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the entry point of the console script `mipi`.

    Args:
        arguments: command-line arguments without the program name; None uses those of the process.

    Returns:
        The exit code.
    """
    os.environ["MPLBACKEND"] = "agg"  # pictures are files; a backend for windows or notebooks may not even exist here
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with standard_streams(_training_goes_on if words[:1] in (["train"], ["resume"]) else _end):
            return _carry_out(words)
    except LostOutputError:
        return FAILED


def _carry_out(words: list[str]) -> int:
    try:
        options = _read(words)
        _check_surroundings()
        options.run(options)
    except UserError as error:
        return _complain(error, MISTAKE)
    except (FailedError, WorldFaultError, DivergedError) as error:
        return _complain(error, FAILED)
    except OSError as error:
        return _complain(marked_as(error, _about_file(error)), MISTAKE)
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        return _complain(marked_as(error, ShortageError(error)), FAILED)
    except SystemExit as end:  # after --help; Hydra also exits this way, even after a failed job of a multirun
        return end.code if isinstance(end.code, int) else OK
    except KeyboardInterrupt as interrupt:
        if _process() == 0:
            print(f"\n{interrupt or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    return OK


def _about_file(error: OSError) -> UserError:
    """Return the mistake in the name or the permissions of a file; raise the error again if it is another one."""
    if error.errno == errno.ENAMETOOLONG:
        return UserError(f"the name of a file or folder is too long: {error.filename}")
    if error.errno in (errno.EACCES, errno.EPERM) and error.filename is not None:
        return UserError(
            f"cannot read or write {error.filename} ({error.strerror}): check who owns it and its folders, and who may "
            "enter them"
        )
    raise error


def _check_surroundings() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise UserError("the current folder no longer exists: change to another one, such as cd ~") from error
    threads = os.environ.get("NUMBA_NUM_THREADS") or "1"
    if not (threads.isdecimal() and 1 <= int(threads) <= _MAX_THREADS):  # numba refuses 0 when it is imported
        raise UserError(
            f"the environment variable NUMBA_NUM_THREADS must be a number from 1 to {_MAX_THREADS}, got {threads!r}"
        )
    if sys.flags.optimize > 1:
        raise UserError(
            "Python runs with -OO (or PYTHONOPTIMIZE=2), which removes the docstrings that TorchRL reads when it is "
            "imported: leave it out, or use -O"
        )


def _training_goes_on(error: OSError) -> None:
    if _process() == 0:
        reason = error.strerror or error
        print(f"mipi: the output cannot be written ({reason}); training goes on without it", file=sys.stderr)


def _end(error: OSError) -> None:
    if not isinstance(error, BrokenPipeError):  # a reader that ends early, such as `head`, is no failure to report
        print(f"mipi: the output cannot be written ({error.strerror or error})", file=sys.stderr)
    raise LostOutputError from error


def _read(words: list[str]) -> Namespace:
    if words[:1] in ([], ["help"]):
        words = [*words[1:], "--help"]  # help COMMAND is the same as COMMAND --help
    first = words[0]
    if first not in (*COMMANDS, "--help", "-h", "--version"):
        hint = did_you_mean(first, COMMANDS, "mipi {}")
        raise UserError(f"unknown command {first!r}; {hint}known commands: {', '.join(COMMANDS)}; see mipi --help")
    return _parser().parse_args(words)


def _parser() -> Parser:
    parser = Parser(
        prog="mipi", description="Train agents that cooperate in teams they have never seen.", epilog=_EPILOG
    )
    parser.add_argument("--version", action=ShowVersion, help="show version and commit, and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        import_module(module_of(command)).declare(commands.add_parser)
    return parser


def _complain(error: Exception, code: int) -> int:
    # If an error ends all processes of a run, only the first process prints it.
    only_first = code == FAILED and not getattr(error, "reported_by_any_process", False)
    if _process() > 0 and (only_first or is_reported(error)):
        return code
    # Messages of libraries can have several lines.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    who = f"mipi (process {_process()})" if _process() > 0 else "mipi"
    print(f"{who}: {'; '.join(lines)}", file=sys.stderr)
    return code


def _process() -> int:
    # If no processes were connected, PyTorch may not have been imported, and need not be.
    return sys.modules["mipi_pl.distributed"].rank() if "mipi_pl.distributed" in sys.modules else 0


if __name__ == "__main__":
    sys.exit(main())
