"""`mipi theory`: checks the statements of the paper."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mipi_pl.commands.options import AddParser, arguments_of, whole_number
from mipi_pl.utils.errors import FailedError, UserError

_DESCRIPTION = """\
Checks lemmas 1 and 2 and theorems 1 and 2 of the paper exactly, on random processes with 1-3 agents, and shows where a
statement needs a condition that the paper does not state. Prints a table and writes statements.csv,
counterexamples.json and convergence.png."""


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command."""
    summary = "check the paper's statements on random processes"
    parser = add_parser("theory", help=summary, description=_DESCRIPTION)
    parser.add_argument(
        "--instances", type=whole_number, default=100, help="processes per statement (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=whole_number,
        default=0,
        help="seed of the first process; the others use the next seeds (default: %(default)s)",
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs/theory"), help="folder of the files (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Check the statements.

    Raises:
        UserError: if a number is out of range, or the folder cannot be written to.
        FailedError: if a statement fails that holds in docs/theory.md.
    """
    from mipi_pl.theory.report import Options
    from mipi_pl.theory.report import run as check_statements

    try:
        hold = check_statements(Options(**arguments_of(options)))
    except ValueError as error:
        raise UserError(f"{error}; see mipi theory --help") from error
    except OSError as error:
        raise UserError(f"--output-dir: cannot write to {error.filename} ({error.strerror})") from error
    if not hold:
        raise FailedError("a statement fails that holds in docs/theory.md: see the table")
