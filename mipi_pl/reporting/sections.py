"""What a report says of one world."""

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
    """All sections.

    Args:
        world: with at least one run.
        name: that the files of its pictures begin with.
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
    """A rate with two places, a return with one."""
    return f"{value:.{_places(world)}f}"


def interval(found: Estimate, places: int) -> str:
    """Such as ``0.71 [0.62, 0.80]``; the value alone where it has no interval."""
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
        f"Greedy {world.measure} of the last policy on held-out teams ({', '.join(world.held_out) or 'none'}). Frames "
        "and hours are sums over the seeds. The standard deviation is over seeds, as in the paper. Every interval of "
        "this page is for the population of seeds, the noise of the episodes in which a seed is measured included: it "
        "would hold the value of very many seeds in about 95 of 100 such comparisons. Those of means are Student's t "
        "over seeds. The interquartile mean leaves out the lowest and the highest quarter of all scores; its interval "
        "is the bootstrap's standard error over seeds, each drawn with all its teams, times Student's quantile. No "
        "interval stands where there is one seed or where all seeds have the same score."
    )


def _curves(world: World, name: str) -> Iterator[Block]:
    panels = {}
    for title, evaluations in (("training teams", (TRAINING,)), ("held-out teams, mean", world.held_out)):
        curves = {group.label: curve_of(group, evaluations, world.bounds) for group in world.groups}
        found = {label: curve for label, curve in curves.items() if curve is not None}
        if found:
            panels[title] = found
    yield Heading(3, "While learning")
    if panels:
        svg = pictures.learning_curves(panels, world.measure)
        yield Picture(
            f"{name}_curves", svg, f"Greedy {world.measure} while learning, mean over seeds with its 95 % interval."
        )
    else:
        yield Paragraph("No run has a learning curve that can be read.")


def _by_team(world: World, name: str) -> Iterator[Block]:
    teams = [world.sizes_of(evaluation) for evaluation in world.evaluations]
    found = _each(world, lambda scores, place: mean_over_seeds(scores[:, place], world.bounds))
    policies = dict.fromkeys(policy for run in world.runs for policy in run.policies if policy != "trained")
    references = {policy: values for policy in policies if (values := _reference(world, policy))}
    yield Heading(3, "By team size")
    yield Table(
        ["algorithm", *teams],
        [
            *([label, *(interval(one, _places(world)) for one in row)] for label, row in found.items()),
            *([policy, *(number(world, value) for value in values)] for policy, values in references.items()),
        ],
    )
    svg = pictures.by_team(teams, found, references, f"greedy {world.measure}, 95 % interval", world.winnable)
    caption = f"Greedy {world.measure} by team size with 95 % intervals; lines: other policies in the same worlds."
    yield Picture(f"{name}_teams", svg, caption)


def _gap(world: World, name: str) -> Iterator[Block]:
    trained, teams = world.evaluations.index(TRAINING), [world.sizes_of(one) for one in world.held_out]
    places = [place for place in range(len(world.evaluations)) if place != trained]

    def gap(scores: Array, place: int) -> Estimate:
        low, high = world.bounds
        return mean_over_seeds(scores[:, trained] - scores[:, place], (low - high, high - low))

    found = _each(world, gap, places)
    yield Heading(3, "Generalization gap")
    yield Table(
        ["algorithm", *teams],
        [[label, *(interval(one, _places(world)) for one in row)] for label, row in found.items()],
    )
    svg = pictures.by_team(teams, found, {}, f"{world.measure} lost, 95 % interval", False)
    caption = f"What is lost: {world.measure} on the training teams less that on each held-out team; 0 is no loss."
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
        "Over pairs of seeds, the mean over held-out teams, a tie counting half. Intervals are Newcombe's for the "
        "Mann-Whitney statistic. One that holds 0.5 leaves open which of the two is better. "
        f"{by_chance(*sorted(len(group.runs) for group in world.groups)[:2])}"
    )


def by_chance(seeds: int, others: int) -> str:
    """How often the clearest order says nothing."""
    return (
        f"By chance alone, with {seeds} against {others}, two algorithms that are alike come to 1.00 once in "
        f"{math.comb(seeds + others, seeds):,} comparisons."
    )


def _compositions(world: World, name: str) -> Iterator[Block]:
    yield Heading(3, "By composition")
    labels, episodes, values = compositions(world)
    if not labels:
        yield Paragraph("No run tells its compositions apart.")
        return
    columns = [group.label for group in world.groups]
    svg = pictures.heat_map(labels, columns, values, world.winnable)
    few = int(episodes[episodes > 0].min())
    caption = f"Greedy {world.measure} by composition, all seeds together; at least {few} episodes in each field."
    yield Picture(f"{name}_compositions", svg, caption)


def compositions(world: World) -> tuple[list[str], Array, Array]:
    """Names of R compositions by team size, and for C algorithms the episodes [R, C] and the mean score [R, C]."""
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
    cells = cells.reshape(len(keys), len(world.groups), 2)  # also where there are none
    with np.errstate(invalid="ignore"):
        return [label for _, label in keys], cells[..., 0], cells[..., 1] / cells[..., 0]


def _each(
    world: World, statistic: Callable[[Array, int], Estimate], places: list[int] | None = None
) -> Mapping[str, list[Estimate]]:
    """Of every group, for every evaluation or some of them."""
    chosen = range(len(world.evaluations)) if places is None else places
    return {
        group.label: [statistic(group.scores(world.evaluations), place) for place in chosen] for group in world.groups
    }


def _reference(world: World, policy: str) -> list[float]:
    """What another policy reaches in each evaluation, the mean over the runs; empty if none played them all."""
    played = [run.policies[policy] for run in world.runs if set(world.evaluations) <= set(run.policies.get(policy, ()))]
    return [float(np.mean([one[name].total.score.value for one in played])) for name in world.evaluations if played]
