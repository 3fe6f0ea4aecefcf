"""Formatting of results as text tables for the terminal and as rows of CSV files."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mipi_pl.evaluation.generalization import Result, Score
from mipi_pl.evaluation.statistics import Estimate
from mipi_pl.evaluation.worlds import TRAINING, size_range
from mipi_pl.storage.files import appending, replacing

Row = dict[str, Any]
WIDTH = 80
"""Maximum width of tables and messages, in characters."""


def rows_of(policy: str, results: Sequence[Result]) -> list[Row]:
    """Return flat rows: for each evaluation its total, then its sizes, then its compositions."""
    rows: list[Row] = []
    for result in results:
        head = {"policy": policy, "evaluation": result.name}
        rows.append(
            {**head, "level": "all", "size": size_range(result.sizes), "composition": "", **result.total.as_dict()}
        )
        for size, score in result.by_size.items():
            rows.append({**head, "level": "size", "size": size, "composition": "", **score.as_dict()})
        for label, (size, score) in result.by_composition.items():
            rows.append({**head, "level": "composition", "size": size, "composition": label, **score.as_dict()})
    return rows


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows with equal keys to a CSV file with a header, atomically.

    Raises:
        OSError: if the file cannot be written.
    """
    with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def append_csv(path: Path, rows: Sequence[Row]) -> None:
    """Append rows with equal keys to a CSV file; write the header if the file is new.

    Raises:
        OSError: if the file cannot be written; its content is then unchanged.
    """
    new = not path.exists()
    with appending(path) as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)


def comparison_table(policies: Mapping[str, Sequence[Result]]) -> str:
    """Return a table of win rates (returns in worlds without winning): a row per evaluation, a column per policy.

    Only the first policy has its interval, return and number of episodes.
    """
    first, *others = policies
    header = ["teams", *_score_header(policies[first], first), *others]
    rows = []
    for place, result in enumerate(policies[first]):
        values = [_value(policies[name][place].total) for name in others]
        rows.append([_teams(result), *_score_cells(result.total), *values])
    return text_table(header, rows, WIDTH)


def detail_table(results: Sequence[Result]) -> str:
    """Return a table of each evaluation in total, by composition, and by team size if a size has several of these."""
    rows = []
    for result in results:
        rows.append([_teams(result), *_score_cells(result.total)])
        if 1 < len(result.by_size) < len(result.by_composition):
            rows += [[f"  {size} agents", *_score_cells(score)] for size, score in result.by_size.items()]
        if len(result.by_composition) > 1:
            rows += [[f"  {label}", *_score_cells(score)] for label, (_, score) in result.by_composition.items()]
    return text_table(["teams", *_score_header(results)], rows)


def fault_notes(policies: Mapping[str, Sequence[Result]]) -> list[str]:
    """Return a line for each evaluation with episodes that faults of the world cut short."""
    return [
        f"note: {policy}, {_teams(result)}: episodes cut short by faults of the world: {result.cut_short} of "
        f"{result.total.episodes}; they are counted with their rewards so far"
        for policy, results in policies.items()
        for result in results
        if result.cut_short
    ]


def team_name(evaluation: str, sizes: str) -> str:
    """Return the name of an evaluation for tables.

    Args:
        evaluation: its name in the config.
        sizes: its team sizes, such as ``3-5``.
    """
    if evaluation == TRAINING:
        return f"{sizes} (as trained)"
    return sizes if sizes == evaluation else f"{evaluation} ({sizes} agents)"


def _teams(result: Result) -> str:
    return team_name(result.name, size_range(result.sizes))


def as_text(found: Estimate, places: int, signed: bool = False) -> str:
    """Format an estimate, such as ``0.71 [0.62, 0.80]``, in the terminal and in reports.

    An interval of width zero is left out: the values do not differ, so that their spread is unknown.

    Args:
        found: value with its interval, whose ends are NaN if there is none.
        places: decimal places.
        signed: whether positive numbers have a plus sign.
    """
    sign = "+" if signed else ""
    value, low, high = (_number(part, places, sign) for part in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]" if found.low < found.high else value


def _number(value: float, places: int, sign: str) -> str:
    text = f"{value:{sign}.{places}f}"
    return f"{0:.{places}f}" if float(text) == 0 else text  # neither -0.00 nor +0.00


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Format a table of plain text, with the first column left-aligned and the others right-aligned.

    Args:
        header: titles of the columns.
        rows: cells of each row, as many as columns.
        width: maximum length of a line. Columns that do not fit follow in another table below, which repeats the
            first column. None for no limit.
    """
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    fitting = len(header)
    while width is not None and fitting > 2 and sum(widths[:fitting]) + 2 * (fitting - 1) > width:
        fitting -= 1
    if fitting < len(header):
        above = text_table(header[:fitting], [row[:fitting] for row in rows])
        below = text_table([header[0], *header[fitting:]], [[row[0], *row[fitting:]] for row in rows], width)
        return f"{above}\n\n{below}"

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])


def _score_header(results: Sequence[Result], policy: str = "") -> list[str]:
    measure = results[0].total.measure if results else "win rate"
    name = f"{measure} {policy}".strip()
    return [f"{name} [95 %]", *(["return"] if measure != "return" else []), "episodes"]


def _score_cells(score: Score) -> list[str]:
    returns = [] if score.win_rate is None else [f"{score.return_.value:.2f}"]
    return [as_text(score.headline, _places(score)), *returns, str(score.episodes)]


def _value(score: Score) -> str:
    return f"{score.headline.value:.{_places(score)}f}"


def _places(score: Score) -> int:
    """Decimal places: two for a rate, one for a return, because it may be large."""
    return 1 if score.win_rate is None else 2
