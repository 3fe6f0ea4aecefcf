"""A table of the runs in a folder, as plain text of at most 80 columns."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

from mipi_pl.evaluation.tables import WIDTH, text_table
from mipi_pl.reporting.runs import Run

HEADER = ("run", "state", "frames", "of", "best", "last")


def runs_table(runs: Sequence[Run], root: Path) -> str:
    """Format a table of runs, followed by a legend and the problems of each run.

    The columns are state, frames, budget, and the best and last mean greedy win rate (or return) of the held-out teams.

    Args:
        runs: at least one run.
        root: folder that the names are relative to.
    """
    rows = [[name_of(run, root), *_cells(run)] for run in runs]
    table = text_table(HEADER, rows)
    if max(map(len, table.splitlines())) > WIDTH:  # too wide: puts each name on its own line
        lines = text_table(HEADER, [["", *cells] for _, *cells in rows]).splitlines()
        named = (line for (name, *_), cells in zip(rows, lines[2:], strict=True) for line in (name, cells))
        table = "\n".join([*lines[:2], *named])
    notes = [wrapped(f"{name_of(run, root)}: {problem}") for run in runs for problem in run.problems]
    legend = wrapped("best, last: mean greedy win rate of the held-out teams (return in worlds without winning)")
    return "\n".join([table, "", legend, *notes])


def name_of(run: Run, root: Path) -> str:
    """Return the folder of a run relative to `root`, with question marks for characters that cannot be printed."""
    relative = os.path.relpath(run.folder, root.resolve())
    return _printable(run.folder.name if relative == "." else relative)


def wrapped(text: str) -> str:
    """Wrap text to lines of at most `WIDTH` characters, with continuation lines indented.

    Non-printable characters are replaced by question marks.
    """
    return textwrap.fill(_printable(text), WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _cells(run: Run) -> list[str]:
    held_out = list(run.held_out().values())
    places = 2 if run.winnable else 1
    best, last = (f"{value:.{places}f}" for value in (max(held_out), held_out[-1])) if held_out else ("-", "-")
    return [run.state, f"{run.frames:,}", f"{run.budget:,}" if run.budget else "?", best, last]
