"""`mipi doctor`."""

from __future__ import annotations

from argparse import Namespace

from mipi_pl.commands.options import AddParser
from mipi_pl.utils.errors import FailedError

_DESCRIPTION = """\
Looks at the installation: versions, threads, GPU, Weights & Biases, the real StarCraft II and the SMAC package. What is
optional and absent is no fault. Ends with exit code 1 if something that every run needs is wrong."""


def declare(add_parser: AddParser) -> None:
    """Whether the game is started."""
    summary = "say what is installed, what is missing, and what to do"
    parser = add_parser("doctor", help=summary, description=_DESCRIPTION)
    parser.add_argument(
        "--start-game", action="store_true", help="start StarCraft II as well and see whether it answers"
    )
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Print the table.

    Raises:
        FailedError: if something that every run needs is wrong.
    """
    from mipi_pl.commands.doctor_checks import State, examine, table

    findings = examine(options.start_game)
    print(table(findings))
    if wrong := [finding.part for finding in findings if finding.state is State.WRONG]:
        raise FailedError(f"not in order: {', '.join(wrong)}")
