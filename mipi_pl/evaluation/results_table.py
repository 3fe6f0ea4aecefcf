"""Results as a table for Python and notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mipi_pl.evaluation.statistics import Estimate
from mipi_pl.evaluation.tables import WIDTH, Row, as_text, team_name, text_table
from mipi_pl.evaluation.worlds import TRAINING


class Table(Sequence[Row]):
    """Results of one or several policies: rows with the columns of results.csv.

    ``print(table)``, and a notebook, show the evaluations as rows and the policies as columns: the win rate, or the
    return where nothing is won, with its 95 % interval if it is known (not of the return of a single episode). The rows
    also have the results by team size and composition (column ``level``).

    Args:
        rows: rows with equal keys.
        folder: folder with results.json, results.csv and results.png.

    Attributes:
        rows: the rows.
        folder: the folder.

    Examples:
        >>> head = {"policy": "trained", "evaluation": "6", "level": "all", "size": "6"}
        >>> print(Table([{**head, "win_rate": 0.5, "win_rate_low": 0.4, "win_rate_high": 0.6}], Path()))
        teams  trained
        -----  -----------------
        6      0.50 [0.40, 0.60]
    """

    def __init__(self, rows: Sequence[Row], folder: Path) -> None:
        self.rows, self.folder = list(rows), folder

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def score(self, evaluation: str | int = TRAINING, policy: str = "trained") -> float:
        """Return the win rate, or the return where nothing is won, in one evaluation.

        Args:
            evaluation: name of the evaluation: ``training``, or a held-out team size.
            policy: name of the policy.

        Raises:
            KeyError: if there is no such evaluation or policy.
        """
        for row in self._totals():
            if (row["evaluation"], row["policy"]) == (str(evaluation), policy):
                return float(row[_measure(row)])
        known = sorted({f"{row['evaluation']} of {row['policy']}" for row in self._totals()})
        raise KeyError(f"there is no evaluation {evaluation} of {policy}; known: {', '.join(known)}")

    def to_pandas(self) -> Any:
        """Return the rows as a pandas DataFrame.

        Raises:
            ImportError: if pandas is not installed.
        """
        try:
            import pandas  # optional; the rows are plain dictionaries without it
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install pandas; without it, use table.rows") from error
        return pandas.DataFrame(self.rows)

    def __str__(self) -> str:
        header, cells = self._cells()
        return text_table(header, cells, WIDTH)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        header, cells = self._cells()

        def line(tag: str, row: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"

        body = "".join(line("td", row) for row in cells)
        return f"<table><thead>{line('th', header)}</thead><tbody>{body}</tbody></table>"

    def _totals(self) -> list[Row]:
        return [row for row in self.rows if row["level"] == "all"]

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        totals = self._totals()
        policies = list(dict.fromkeys(str(row["policy"]) for row in totals))
        cells: dict[str, list[str]] = {}
        for row in totals:
            teams = team_name(str(row["evaluation"]), str(row["size"]))
            line = cells.setdefault(row["evaluation"], [teams, *[""] * len(policies)])
            line[1 + policies.index(str(row["policy"]))] = _cell(row)
        return ["teams", *policies], list(cells.values())


def _measure(row: Row) -> str:
    return "win_rate" if row.get("win_rate") is not None else "return"


def _cell(row: Row) -> str:
    measure = _measure(row)
    found = Estimate(*(float(row[name]) for name in (measure, f"{measure}_low", f"{measure}_high")))
    return as_text(found, 2 if measure == "win_rate" else 1)
