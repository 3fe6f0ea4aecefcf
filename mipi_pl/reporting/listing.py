"""The runs below a folder as a table of at most 80 columns, plain characters only."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

from mipi_pl.evaluation.tables import WIDTH, text_table
from mipi_pl.reporting.runs import Run

HEADER = ("run", "state", "frames", "of", "best", "last")


def runs_table(runs: Sequence[Run], root: Path) -> str:
    """State, frames, and the mean greedy win rate (or return) over the held-out teams, best and last.

    Below it stands what was found to be wrong in the folders.

    Args:
        runs: at least one.
        root: that the names are relative to.
    """
    rows = [[name_of(run, root), *_cells(run)] for run in runs]
    table = text_table(HEADER, rows)
    if max(map(len, table.splitlines())) > WIDTH:  # names that are too long stand on lines of their own
        lines = text_table(HEADER, [["", *cells] for _, *cells in rows]).splitlines()
        named = (line for (name, *_), cells in zip(rows, lines[2:], strict=True) for line in (name, cells))
        table = "\n".join([*lines[:2], *named])
    notes = [wrapped(f"{name_of(run, root)}: {problem}") for run in runs for problem in run.problems]
    legend = wrapped("best, last: greedy win rate (or return, where nothing is won), mean of the held-out teams")
    return "\n".join([table, "", legend, *notes])


def name_of(run: Run, root: Path) -> str:
    """Its folder, relative to `root`."""
    relative = os.path.relpath(run.folder, root.resolve())
    return run.folder.name if relative == "." else relative


def wrapped(text: str) -> str:
    """Lines of at most `WIDTH` characters, all but the first indented; whoever reads a log may not scroll."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in text)
    return textwrap.fill(printable, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _cells(run: Run) -> list[str]:
    held_out = list(run.held_out().values())
    places = 2 if run.winnable else 1
    best, last = (f"{value:.{places}f}" for value in (max(held_out), held_out[-1])) if held_out else ("-", "-")
    return [run.state, f"{run.frames:,}", f"{run.budget:,}" if run.budget else "?", best, last]
