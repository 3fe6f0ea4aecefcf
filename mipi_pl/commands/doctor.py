"""`mipi doctor`: checks the installation."""

from __future__ import annotations

from argparse import Namespace

from mipi_pl.commands.options import AddParser
from mipi_pl.utils.errors import FailedError

_DESCRIPTION = """\
Checks the installation: versions, threads, GPU, Weights & Biases, the real StarCraft II and the SMAC package. Missing
optional parts are not errors. The exit code is 1 if a part that every run needs is missing or broken."""


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command."""
    summary = "check the installation and list what is missing"
    parser = add_parser("doctor", help=summary, description=_DESCRIPTION)
    parser.add_argument("--start-game", action="store_true", help="also start StarCraft II and check that it answers")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Print the table of findings.

    Raises:
        FailedError: if a part that every run needs is missing or broken.
    """
    from mipi_pl.commands.doctor_checks import examine
    from mipi_pl.commands.findings import State, table

    findings = examine(options.start_game)
    print(table(findings))
    if wrong := [finding.part for finding in findings if finding.state is State.WRONG]:
        raise FailedError(f"missing or broken: {', '.join(wrong)}")
