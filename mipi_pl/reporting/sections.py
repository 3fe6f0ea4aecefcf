"""Sections of a report about one world."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from mipi_pl.evaluation.seeds import (
    Array,
    interquartile_mean_over_seeds,
    mean_over_seeds,
    probability_of_improvement,
)
from mipi_pl.evaluation.statistics import Estimate
from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.reporting import pictures
from mipi_pl.reporting.curves import curve_of
from mipi_pl.reporting.document import Block, Heading, Paragraph, Picture, Table
from mipi_pl.reporting.groups import World


def of_world(world: World, name: str) -> Iterator[Block]:
    """Yield all sections about a world.

    Args:
        world: world with at least one run.
        name: prefix of the names of its picture files.
    """
    yield Heading(2, world.label)
    yield from _overview(world)
    yield from _curves(world, name)
    yield from _by_team(world, name)
    if world.held_out:
        yield from _gap(world, name)
        yield from _improvement(world)
    yield from _compositions(world, name)


def number(world: World, value: float) -> str:
    """Format a score: a rate with two decimal places, a return with one."""
    return f"{value:.{_places(world)}f}"


def interval(found: Estimate, places: int) -> str:
    """Format an estimate, such as ``0.71 [0.62, 0.80]``; only the value if it has no interval."""
    value, low, high = (f"{part:.{places}f}" for part in (found.value, found.low, found.high))
    return value if math.isnan(found.low) else f"{value} [{low}, {high}]"


def _places(world: World) -> int:
    return 2 if world.winnable else 1


def _overview(world: World) -> Iterator[Block]:
    rows = []
    for group in world.groups:
        hours = [run.seconds / 3600 for run in group.runs if run.seconds is not None]
        row = [
            group.label,
            str(len(group.runs)),
            f"{sum(run.frames for run in group.runs):,}",
            f"{sum(hours):.2f}" if len(hours) == len(group.runs) else "unknown",
        ]
        if world.held_out:
            scores = group.scores(world.held_out)
            means = scores.mean(1)
            spread = number(world, float(means.std(ddof=1))) if len(means) > 1 else "-"
            row += [
                f"{number(world, float(means.mean()))} ± {spread}",
                interval(mean_over_seeds(means, world.bounds), _places(world)),
                interval(interquartile_mean_over_seeds(scores, world.bounds), _places(world)),
            ]
        rows.append(row)
    header = ["algorithm", "seeds", "frames", "hours"]
    if world.held_out:
        header += ["mean ± std", "mean [95 %]", "interquartile mean"]
    yield Table(header, rows)
    yield Paragraph(
        f"Greedy {world.measure} of the final policy on held-out teams ({', '.join(world.held_out) or 'none'}). Frames "
        "and hours are sums over seeds. The standard deviation is over seeds, as in the paper. Every interval in this "
        "report is for the population of seeds: it would contain the value of very many seeds in about 95 of 100 such "
        "comparisons. It includes the noise of the episodes in which a seed is measured. Intervals of means are "
        "Student's t over seeds. The interquartile mean excludes the lowest and the highest quarter of all scores; its "
        "interval is the bootstrap's standard error over seeds, each drawn with all its teams, times Student's "
        "quantile. No interval is given for a single seed, or if all seeds have the same score."
    )


def _curves(world: World, name: str) -> Iterator[Block]:
    panels = {}
    for title, evaluations in (("training teams", (TRAINING,)), ("held-out teams, mean", world.held_out)):
        curves = {group.label: curve_of(group, evaluations, world.bounds) for group in world.groups}
        readable = {label: curve for label, curve in curves.items() if curve is not None}
        if readable:
            panels[title] = readable
    yield Heading(3, "While learning")
    if panels:
        svg = pictures.learning_curves(panels, world.measure)
        yield Picture(
            f"{name}_curves", svg, f"Greedy {world.measure} while learning, mean over seeds with its 95 % interval."
        )
    else:
        yield Paragraph("No learning curve can be drawn: every algorithm has a run without readable evaluations.")


def _by_team(world: World, name: str) -> Iterator[Block]:
    teams = [world.sizes_of(evaluation) for evaluation in world.evaluations]
    estimates = _each(world, lambda scores, place: mean_over_seeds(scores[:, place], world.bounds))
    policies = dict.fromkeys(policy for run in world.runs for policy in run.policies if policy != "trained")
    references = {policy: values for policy in policies if (values := _reference(world, policy))}
    yield Heading(3, "By team size")
    yield Table(
        ["algorithm", *teams],
        [
            *([label, *(interval(cell, _places(world)) for cell in row)] for label, row in estimates.items()),
            *([policy, *(number(world, value) for value in values)] for policy, values in references.items()),
        ],
    )
    svg = pictures.by_team(teams, estimates, references, f"greedy {world.measure}, 95 % interval", world.winnable)
    caption = f"Greedy {world.measure} by team size with 95 % intervals; lines: other policies in the same worlds."
    yield Picture(f"{name}_teams", svg, caption)


def _gap(world: World, name: str) -> Iterator[Block]:
    trained, teams = world.evaluations.index(TRAINING), [world.sizes_of(evaluation) for evaluation in world.held_out]
    places = [place for place in range(len(world.evaluations)) if place != trained]

    def gap(scores: Array, place: int) -> Estimate:
        low, high = world.bounds
        return mean_over_seeds(scores[:, trained] - scores[:, place], (low - high, high - low))

    gaps = _each(world, gap, places)
    yield Heading(3, "Generalization gap")
    yield Table(
        ["algorithm", *teams],
        [[label, *(interval(cell, _places(world)) for cell in row)] for label, row in gaps.items()],
    )
    svg = pictures.by_team(teams, gaps, {}, f"{world.measure} lost, 95 % interval", False)
    caption = (
        f"Generalization gap: {world.measure} on the training teams minus that on each held-out team; 0 is no loss."
    )
    yield Picture(f"{name}_gap", svg, caption)


def _improvement(world: World) -> Iterator[Block]:
    if len(world.groups) < 2:
        return
    scores = {group.label: group.scores(world.held_out) for group in world.groups}

    def cell(ours: str, theirs: str) -> str:
        return "-" if ours == theirs else interval(probability_of_improvement(scores[ours], scores[theirs]), 2)

    rows = [[ours, *(cell(ours, theirs) for theirs in scores)] for ours in scores]
    yield Heading(3, "Probability of improvement")
    yield Table(["row beats column", *scores], rows)
    yield Paragraph(
        "Share of pairs of seeds in which the row has the higher score, mean over held-out teams; ties count half. "
        "Intervals are Newcombe's for the Mann-Whitney statistic. If an interval contains 0.5, the comparison does not "
        "show which of the two is better. "
        f"{by_chance(*sorted(len(group.runs) for group in world.groups)[:2])}"
    )


def by_chance(seeds: int, others: int) -> str:
    """Return a sentence on how often chance alone gives the clearest possible order of two algorithms."""
    return (
        f"By chance alone, with {seeds} against {others} seeds, two equally good algorithms reach 1.00 once in "
        f"{math.comb(seeds + others, seeds):,} comparisons."
    )


def _compositions(world: World, name: str) -> Iterator[Block]:
    yield Heading(3, "By composition")
    labels, episodes, values = compositions(world)
    if not labels:
        yield Paragraph("No run has results by composition.")
        return
    columns = [group.label for group in world.groups]
    svg = pictures.heat_map(labels, columns, values, world.winnable)
    few = int(episodes[episodes > 0].min())
    caption = f"Greedy {world.measure} by composition, all seeds pooled; at least {few} episodes per cell."
    yield Picture(f"{name}_compositions", svg, caption)


def compositions(world: World) -> tuple[list[str], Array, Array]:
    """Pool the results by composition over seeds.

    Returns:
        Names of R compositions, sorted by team size; episodes [R, C] and mean scores [R, C] of C algorithms.
    """
    sums: dict[tuple[int, str], dict[str, tuple[int, float]]] = {}
    for group in world.groups:
        for run in group.runs:
            for evaluation in world.evaluations:
                for label, (size, tally) in run.policies["trained"][evaluation].by_composition.items():
                    count, total = sums.setdefault((size, label), {}).get(group.label, (0, 0.0))
                    now = (count + tally.episodes, total + tally.episodes * tally.score.value)
                    sums[size, label][group.label] = now
    keys = sorted(sums)
    cells = np.array([[sums[key].get(group.label, (0, 0.0)) for group in world.groups] for key in keys])
    cells = cells.reshape(len(keys), len(world.groups), 2)  # for an empty list of compositions
    with np.errstate(invalid="ignore"):
        return [label for _, label in keys], cells[..., 0], cells[..., 1] / cells[..., 0]


def _each(
    world: World, statistic: Callable[[Array, int], Estimate], places: list[int] | None = None
) -> Mapping[str, list[Estimate]]:
    """Computes a statistic of each group in every evaluation, or only in those at `places`."""
    chosen = range(len(world.evaluations)) if places is None else places
    return {
        group.label: [statistic(group.scores(world.evaluations), place) for place in chosen] for group in world.groups
    }


def _reference(world: World, policy: str) -> list[float]:
    """Mean score of another policy over the runs, for each evaluation; empty if no run has it in all evaluations."""
    played = [run.policies[policy] for run in world.runs if set(world.evaluations) <= set(run.policies.get(policy, ()))]
    return [
        float(np.mean([results[name].total.score.value for results in played])) for name in world.evaluations if played
    ]
