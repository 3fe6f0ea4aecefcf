"""`mipi runs`: lists runs."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mipi_pl.commands.options import AddParser

_DESCRIPTION = """\
Lists the runs in and below a folder with their state (running, finished, interrupted, failed, damaged), frames, and the
best and last greedy win rate or return on held-out teams. Continue an interrupted run with mipi resume."""


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command."""
    summary = "list runs in a folder with state, frames and win rates"
    parser = add_parser("runs", help=summary, description=_DESCRIPTION)
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, nargs="?", default=Path("outputs"), help="(default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Print the table of runs."""
    from mipi_pl.reporting.listing import runs_table
    from mipi_pl.reporting.runs import find_runs

    folder = options.folder
    runs = find_runs([folder])
    print(runs_table(runs, folder) if runs else f"no runs in {folder}")
