"""`mipi runs`."""

from __future__ import annotations

from pathlib import Path

from mipi_pl.commands.options import Parser

USAGE = "mipi runs [FOLDER]                     runs below outputs/ or a folder: state, frames, win rates"

_HELP = """\
Lists the runs in and below a folder with state (running, finished, interrupted, failed, damaged), frames, and the
greedy win rate or return on held-out teams, best and last. An interrupted run goes on with mipi resume."""


def run(arguments: list[str]) -> None:
    """List runs."""
    parser = Parser("runs", _HELP)
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="?", default=Path("outputs"))
    folder = parser.parse_args(arguments).folder

    from mipi_pl.reporting.listing import runs_table
    from mipi_pl.reporting.runs import find_runs

    runs = find_runs([folder])
    print(runs_table(runs, folder) if runs else f"no runs in {folder}")
