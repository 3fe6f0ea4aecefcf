"""The learning curve of a run, from its evaluations.csv; for the figures of a run.

`mipi report` has a reader of its own, which describes what is wrong with a damaged file instead of raising an error.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mipi_pl.evaluation.statistics import Estimate


@dataclass(frozen=True)
class Point:
    """One evaluation on the learning curve.

    Attributes:
        frames: environment steps collected so far.
        evaluation: name of the evaluation.
        value: the measure with its 95 % interval.
        measure: ``win rate`` or ``return``.
    """

    frames: int
    evaluation: str
    value: Estimate
    measure: str = "win rate"


def read_curve(path: Path, column: Literal["win_rate", "return"] | None = None) -> list[Point]:
    """Read the points that the evaluation callback wrote to evaluations.csv; empty if the file does not exist.

    Args:
        path: the file.
        column: measure to read; None: the win rate, or the return in worlds without winning.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [_point(row, column) for row in csv.DictReader(file) if row["level"] == "all"]


def _point(row: Mapping[str, str], column: str | None) -> Point:
    column = column or ("win_rate" if "win_rate" in row else "return")
    value, low, high = (float(row[key]) for key in (column, f"{column}_low", f"{column}_high"))
    return Point(int(row["frames"]), row["evaluation"], Estimate(value, low, high), column.replace("_", " "))


def while_learning(points: Sequence[Point], evaluation: str, final: Estimate | None) -> list[Point]:
    """Return the points of one evaluation by frames, without the final evaluation, with which evaluations.csv ends.

    Args:
        points: points of a run, in any order.
        evaluation: name of the evaluation.
        final: result of the final evaluation, by the same measure; None if it is not known.
    """
    line = sorted((point for point in points if point.evaluation == evaluation), key=lambda point: point.frames)
    return line[:-1] if len(line) > 1 and line[-1].value == final else line
