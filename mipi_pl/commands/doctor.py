"""`mipi doctor`."""

from __future__ import annotations

from mipi_pl.commands.options import Parser
from mipi_pl.utils.errors import FailedError

USAGE = "mipi doctor [--start-game]             what is installed, what is missing, and what to do"

_HELP = """\
Looks at the installation: versions, threads, GPU, Weights & Biases, the real StarCraft II and the SMAC package. What is
optional and absent is no fault. Ends with exit code 1 if something that every run needs is wrong."""


def run(arguments: list[str]) -> None:
    """Print the table.

    Raises:
        FailedError: if something that every run needs is wrong.
    """
    parser = Parser("doctor", _HELP)
    parser.add_argument(
        "--start-game", action="store_true", help="start StarCraft II as well and see whether it answers"
    )
    chosen = parser.parse_args(arguments)

    from mipi_pl.commands.diagnosis import State, examine, table

    findings = examine(chosen.start_game)
    print(table(findings))
    if wrong := [finding.what for finding in findings if finding.state is State.WRONG]:
        raise FailedError(f"not in order: {', '.join(wrong)}")
