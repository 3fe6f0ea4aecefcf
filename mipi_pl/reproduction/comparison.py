"""Comparison with the paper's numbers, cell by cell, and with its order of the methods."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from mipi_pl.evaluation.tables import text_table
from mipi_pl.reporting.groups import OF_LEARNER, OF_WORLD, settings
from mipi_pl.reproduction.plan import Cell, Plan
from mipi_pl.reproduction.work import Outlook

_MOST_KEYS = 4
"""Keys of settings that a note names."""


@dataclass(frozen=True)
class Ours:
    """One cell of a table of ours.

    Attributes:
        by_seed: value of each seed.
        rate: whether the values are win rates.
    """

    by_seed: Mapping[int, float]
    rate: bool

    @property
    def values(self) -> tuple[float, ...]:
        """Values in the order of the plan's seeds."""
        return tuple(self.by_seed.values())

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.mean(self.values)

    @property
    def text(self) -> str:
        """Mean ± standard deviation over seeds; ``?`` for the deviation of a single seed."""
        places = 2 if self.rate or abs(self.mean) < 10 else 1
        spread = f"{statistics.stdev(self.values):.{places}f}" if len(self.values) > 1 else "?"
        return f"{self.mean:.{places}f} ± {spread}"


def ours_of(plan: Plan, outlooks: Sequence[Outlook]) -> dict[Cell, Ours]:
    """Return the cells of a plan's finished runs; cells without a finished run are absent."""
    values: dict[Cell, dict[int, float]] = {}
    rate = True
    for outlook in outlooks:
        for column, evaluation in plan.columns.items():
            trained = outlook.run.policies.get("trained", {}) if outlook.step == "done" and outlook.run else {}
            if evaluation in trained:
                tally = trained[evaluation].total
                rate = rate and tally.winnable and not plan.returns
                value = tally.mean_return if plan.returns else tally.score.value
                values.setdefault((outlook.job.task, outlook.job.method, column), {})[outlook.job.seed] = value
    return {cell: Ours(by_seed, rate) for cell, by_seed in values.items()}


def notes_on_settings(outlooks: Sequence[Outlook]) -> list[str]:
    """Return a note for each task and method whose finished seeds, which share a cell, have different settings.

    The settings of a plan change with the version of the program, and a run may have been extended.
    """
    of_cells: dict[str, list[dict[str, str]]] = {}
    for outlook in outlooks:
        if outlook.step == "done" and outlook.run is not None and outlook.run.config:
            cell = f"{outlook.job.task}, {outlook.job.method}"
            of_cells.setdefault(cell, []).append(dict(settings(outlook.run.config, (*OF_WORLD, *OF_LEARNER))))
    notes = []
    for cell, found in of_cells.items():
        keys = sorted({key for one in found for key in one})
        unequal = [key for key in keys if len({one.get(key) for one in found}) > 1]
        if unequal:
            listed = ", ".join(unequal[:_MOST_KEYS]) + (", ..." if len(unequal) > _MOST_KEYS else "")
            notes.append(f"warning: the mean of {cell} is over seeds with different settings: {listed}")
    return notes


def rows_of(plan: Plan, ours: Mapping[Cell, Ours]) -> list[list[str]]:
    """Return a row per cell with the columns of `HEADER`; missing values are dashes."""
    rows = []
    for cell in _cells(plan):
        here, there = ours.get(cell), plan.paper.get(cell)
        rows.append(
            [
                *cell,
                f"{there[0]:.2f} ± {there[1]:.2f}" if there else "-",
                here.text if here else "-",
                str(len(here.values)) if here else "0",
                f"{here.mean - there[0]:+.2f}" if here and there else "-",
            ]
        )
    return rows


HEADER = ("task", "method", "teams", "paper", "ours", "seeds", "diff")


def raw_rows(plan: Plan, ours: Mapping[Cell, Ours]) -> list[list[str]]:
    """Return `rows_of` with a header and an additional column for the value of each seed."""
    seeds = list(dict.fromkeys(job.seed for job in plan.jobs))
    rows = [[*HEADER, *(f"seed_{seed}" for seed in seeds)]]
    for row, cell in zip(rows_of(plan, ours), _cells(plan), strict=True):
        by_seed = ours[cell].by_seed if cell in ours else {}
        rows.append([*row, *(f"{by_seed[seed]:.4f}" if seed in by_seed else "" for seed in seeds)])
    return rows


def order_of(plan: Plan, ours: Mapping[Cell, Ours]) -> list[list[str]]:
    """Compare the order of the methods with the paper's, for each task and column.

    Returns:
        Rows with the columns of `ORDER_HEADER`: how many pairs of methods are ordered as in the paper, the best
        methods, and whether the whole order holds. That is ``open`` if the finished methods agree with the paper but
        others are missing, or if there is only one. Pairs with equal values in the paper are ignored. A figure has no
        row if the method that is best in the paper was not chosen.
    """
    rows = []
    for task in plan.tasks:
        for column in plan.columns:
            cells = [(task, method, column) for method in plan.methods(task)]
            here = {method: ours[cell].mean for cell in cells if cell in ours for method in [cell[1]]}
            there = {cell[1]: plan.paper[cell][0] for cell in cells if cell in plan.paper and cell[1] in here}
            if there:
                pairs = [(a, b) for a, b in combinations(there, 2) if there[a] != there[b]]
                held = sum((here[a] > here[b]) == (there[a] > there[b]) and here[a] != here[b] for a, b in pairs)
                best = (_best(here), _best(there))
                expected = sum(cell in plan.paper for cell in cells)
                holds = _verdict(held == len(pairs), len(there) == expected > 1)
                rows.append([task, column, f"{held} of {len(pairs)}", *best, holds])
            elif here and column in plan.best.get("columns", ()) and plan.best["method"] in plan.methods(task):
                best = plan.best["method"]
                holds = _verdict(best not in here or _best(here) == best, len(here) == len(cells) > 1)
                rows.append([task, column, "-", _best(here), best, holds])
    return rows


ORDER_HEADER = ("task", "teams", "pairs as in paper", "best here", "best in paper", "holds")


def as_text(plan: Plan, ours: Mapping[Cell, Ours]) -> str:
    """Format both tables, at most 80 columns wide."""
    parts = [text_table(HEADER, rows_of(plan, ours))]
    if order := order_of(plan, ours):
        parts.append(text_table(ORDER_HEADER, order))
    return "\n\n".join(parts)


def _cells(plan: Plan) -> list[Cell]:
    return [(task, method, column) for task in plan.tasks for method in plan.methods(task) for column in plan.columns]


def _verdict(agrees: bool, complete: bool) -> str:
    return ("yes" if complete else "open") if agrees else "no"


def _best(means: Mapping[str, float]) -> str:
    top = max(means.values())
    return " = ".join(method for method, value in means.items() if value == top)
