"""Sections of a report: about one world, and about all of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from mipi_pl.evaluation.seeds import (
    Array,
    interquartile_mean_over_seeds,
    mean_probability_of_improvement,
    performance_profile,
    probability_of_improvement,
)
from mipi_pl.evaluation.statistics import Estimate
from mipi_pl.evaluation.style import line_style
from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.reporting import pictures
from mipi_pl.reporting.curves import interquartile_curve, mean_curve, played_while_learning
from mipi_pl.reporting.differences import tables_of_differences
from mipi_pl.reporting.document import Block, Filter, Heading, Paragraph, Picture, Table
from mipi_pl.reporting.estimates import MARK, marked_text, mean_estimate
from mipi_pl.reporting.groups import Group, World
from mipi_pl.reporting.labels import differing_keys

_THRESHOLDS = 101


def of_world(world: World, name: str) -> Iterator[Block]:
    """Yield all sections about a world.

    Args:
        world: world with at least one run.
        name: prefix of the names of its picture files.
    """
    yield Heading(2, world.label)
    if len(world.groups) > 1:
        yield Filter([(group.label, line_style(number)[0]) for number, group in enumerate(world.groups)])
    yield from _overview(world)
    yield from tables_of_differences([group.of for group in world.groups], [group.label for group in world.groups])
    yield from _curves(world, name)
    if world.held_out:
        yield from _interquartile(world, name)
    yield from _by_team(world, name)
    if world.held_out:
        yield from _gap(world, name)
        yield from _improvement(world)
    yield from _compositions(world, name)


def of_all_worlds(worlds: Sequence[World]) -> Iterator[Block]:
    """Yield the comparison over all worlds with held-out teams, if there are several and they share algorithms."""
    worlds = [world for world in worlds if world.held_out]
    # Letters are left out, because they are given in each world anew.
    groups = [{group.label: group for group in world.groups if not group.has_letter} for world in worlds]
    labels = [label for label in groups[0] if all(label in others for others in groups)] if len(groups) > 1 else []
    if len(labels) < 2:
        return
    scores = [
        {label: by_label[label].scores(world.held_out) for label in labels}
        for world, by_label in zip(worlds, groups, strict=True)
    ]
    yield Heading(2, "All environments")
    yield Heading(3, "Probability of improvement")
    yield _matrix(
        labels, lambda ours, theirs: mean_probability_of_improvement([(of[ours], of[theirs]) for of in scores])
    )
    yield Paragraph(
        f"Mean over {', '.join(world.label for world in worlds)} of the share of pairs of seeds in which the row has "
        "the higher score, for the algorithms that have the same label in each of these environments. Each environment "
        "has its own runs, so the intervals are combined by the square-and-add method for independent estimates. An "
        "algorithm with a single seed in any environment has no interval."
    )
    for label in labels:
        if keys := differing_keys([by_label[label].of for by_label in groups]):
            yield Paragraph(f"{label} does not have the same settings in all environments: {', '.join(keys)}.")


def _matrix(labels: Sequence[str], compare: Callable[[str, str], Estimate]) -> Table:
    """Return the table that compares each algorithm with each other one."""
    rows = [
        [ours, *("-" if ours == theirs else marked_text(compare(ours, theirs), 2) for theirs in labels)]
        for ours in labels
    ]
    return Table(["row beats column", *labels], rows, series=list(labels))


def number(world: World, value: float) -> str:
    """Format a score: a rate with two decimal places, a return with one."""
    return f"{value:.{_places(world)}f}"


def _places(world: World) -> int:
    return 2 if world.winnable else 1


def _mean(world: World, group: Group, evaluations: tuple[str, ...]) -> Estimate:
    """Mean final score of a group over seeds and evaluations."""
    weights = np.full(len(evaluations), 1 / len(evaluations))
    return mean_estimate(group.estimates(evaluations), weights, world.bounds)


def _labels(world: World) -> list[str]:
    return [group.label for group in world.groups]


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
                marked_text(_mean(world, group, world.held_out), _places(world)),
                marked_text(interquartile_mean_over_seeds(scores, world.bounds), _places(world)),
            ]
        rows.append(row)
    header = ["algorithm", "seeds", "frames", "hours"]
    if world.held_out:
        header += ["mean ± std", "mean [95 %]", "interquartile mean [95 %]"]
    yield Table(header, rows, series=_labels(world))
    yield Paragraph(
        f"Greedy {world.measure} of the final policy on held-out teams ({', '.join(world.held_out) or 'none'}). Frames "
        "and hours are sums over seeds. The standard deviation is over seeds, as in the paper. Intervals are for the "
        "population of seeds: such an interval would contain the value of very many seeds in about 95 of 100 "
        "comparisons, in the episodes that were played. These are the same for all runs; with other episodes the "
        "scores of all of them would shift together, which no interval here contains. Intervals of means are "
        "Student's t over seeds. The interquartile mean excludes the lowest and the highest quarter of all scores; its "
        "interval is the bootstrap's standard error over seeds, each drawn with all its teams, times Student's "
        f"quantile. With a single seed, or if all seeds have the same score, the spread over seeds is unknown. An "
        f"interval marked {MARK} then covers only the episodes, as in the table that mipi train and mipi eval print."
    )


def _curves(world: World, name: str) -> Iterator[Block]:
    panels = []
    held_out, note = _while_learning(world)
    for title, evaluations in (("training teams", (TRAINING,)), ("held-out teams, mean", held_out)):
        curves = {group.label: mean_curve(group, evaluations, world.bounds) for group in world.groups}
        if any(curves.values()):
            finals = {group.label: _mean(world, group, evaluations) for group in world.groups}
            panels.append(pictures.Panel(title, curves, finals, _references(world, evaluations)))
    yield Heading(3, "While learning")
    if panels:
        yield Picture(
            f"{name}_curves",
            pictures.learning_curves(panels, world.measure),
            f"Greedy {world.measure} while learning, mean over seeds with its 95 % interval. Diamonds: the final "
            f"evaluation, which has more episodes. Grey lines: policies that did not learn.{note}",
        )
    else:
        yield Paragraph("No learning curve can be drawn: every algorithm has a run without readable evaluations.")


def _while_learning(world: World) -> tuple[tuple[str, ...], str]:
    """Return the held-out evaluations that curves are drawn of, and a note if these are not all of them."""
    played = played_while_learning(world.runs, world.held_out)
    alone = f" While learning, of the held-out teams only {', '.join(played)} played in all runs."
    return played, alone if played != world.held_out else ""


def _interquartile(world: World, name: str) -> Iterator[Block]:
    held_out, note = _while_learning(world)
    curves = {group.label: interquartile_curve(group, held_out, world.bounds) for group in world.groups}
    scores = {group.label: group.scores(world.held_out) for group in world.groups}
    low, high = world.bounds if world.winnable else _range(scores)
    thresholds = np.linspace(low, high, _THRESHOLDS)
    profiles = {label: (thresholds, performance_profile(values, thresholds)) for label, values in scores.items()}
    yield Heading(3, "Interquartile mean and performance profile")
    yield Picture(
        f"{name}_interquartile",
        pictures.interquartile(curves, profiles, world.measure),
        f"Left: interquartile mean of the greedy {world.measure} over seeds and held-out teams while learning. Right: "
        f"share of seeds and held-out teams whose final {world.measure} is above x; a higher curve is better. Bands: "
        f"95 % intervals over seeds.{note}",
    )


def _range(scores: Mapping[str, Array]) -> tuple[float, float]:
    values = np.concatenate([of_group.ravel() for of_group in scores.values()])
    margin = 0.05 * float(np.ptp(values)) or 1.0
    return float(values.min()) - margin, float(values.max()) + margin


def _by_team(world: World, name: str) -> Iterator[Block]:
    teams = [world.sizes_of(evaluation) for evaluation in world.evaluations]
    estimates = {group.label: [_mean(world, group, (team,)) for team in world.evaluations] for group in world.groups}
    by_evaluation = [_references(world, (evaluation,)) for evaluation in world.evaluations]
    references = {policy: [values[policy] for values in by_evaluation] for policy in by_evaluation[0]}
    yield Heading(3, "By team size")
    yield Table(
        ["algorithm", *teams],
        [
            *([label, *(marked_text(cell, _places(world)) for cell in row)] for label, row in estimates.items()),
            *([policy, *(number(world, value) for value in values)] for policy, values in references.items()),
        ],
        series=[*estimates, *[""] * len(references)],
    )
    svg = pictures.by_team(teams, estimates, references, f"greedy {world.measure}, 95 % interval", world.winnable)
    caption = f"Greedy {world.measure} by team size with 95 % intervals; lines: other policies in the same worlds."
    yield Picture(f"{name}_teams", svg, caption)


def _gap(world: World, name: str) -> Iterator[Block]:
    low, high = world.bounds
    bounds = (low - high, high - low)

    def gap(group: Group, evaluation: str) -> Estimate:
        return mean_estimate(group.estimates((TRAINING, evaluation)), np.array([-1.0, 1.0]), bounds)

    teams = [world.sizes_of(evaluation) for evaluation in world.held_out]
    gaps = {group.label: [gap(group, evaluation) for evaluation in world.held_out] for group in world.groups}
    yield Heading(3, "Generalization gap")
    yield Table(
        ["algorithm", *teams],
        [[label, *(marked_text(cell, _places(world), signed=True) for cell in row)] for label, row in gaps.items()],
        series=_labels(world),
    )
    yield Paragraph(
        f"The {world.measure} on held-out teams minus that on the training teams. Plus is better, minus is worse than "
        "in training; 0 means that nothing is lost."
    )
    svg = pictures.change(teams, gaps, f"{world.measure}: held-out minus training")
    yield Picture(
        f"{name}_gap", svg, f"Generalization gap with 95 % intervals: {world.measure} held-out minus training."
    )


def _improvement(world: World) -> Iterator[Block]:
    if len(world.groups) < 2:
        return
    scores = {group.label: group.scores(world.held_out) for group in world.groups}
    yield Heading(3, "Probability of improvement")
    yield _matrix(_labels(world), lambda ours, theirs: probability_of_improvement(scores[ours], scores[theirs]))
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
    svg = pictures.heat_map(labels, columns, values, episodes, world.winnable)
    played = episodes[episodes > 0]
    few = int((played < pictures.FEW_IN_CELL).sum())
    caption = (
        f"Greedy {world.measure} by composition, all seeds pooled; at least {int(played.min())} episodes per cell."
    )
    caption += f" In parentheses: fewer than {pictures.FEW_IN_CELL} episodes ({few} cells)." if few else ""
    yield Picture(f"{name}_compositions", svg, caption)


def compositions(world: World) -> tuple[list[str], Array, Array]:
    """Pool the results by composition over seeds.

    Evaluations may play the same composition by different rules; these are different rows.

    Returns:
        Names of R compositions, sorted by team size; episodes [R, C] and mean scores [R, C] of C algorithms.
    """
    sums: dict[tuple[int, str, str], dict[str, tuple[int, float]]] = {}
    for group in world.groups:
        for run in group.runs:
            for evaluation in world.evaluations:
                for label, (size, tally) in run.policies["trained"][evaluation].by_composition.items():
                    count, total = sums.setdefault((size, label, evaluation), {}).get(group.label, (0, 0.0))
                    now = (count + tally.episodes, total + tally.episodes * tally.score.value)
                    sums[size, label, evaluation][group.label] = now
    keys = sorted(sums)
    cells = np.array([[sums[key].get(group.label, (0, 0.0)) for group in world.groups] for key in keys])
    cells = cells.reshape(len(keys), len(world.groups), 2)  # for an empty list of compositions
    with np.errstate(invalid="ignore"):
        return _names(keys), cells[..., 0], cells[..., 1] / cells[..., 0]


def _names(keys: Sequence[tuple[int, str, str]]) -> list[str]:
    """Return the labels of compositions, with the evaluation where several played the same one."""
    played = Counter((size, label) for size, label, _ in keys)
    return [label if played[size, label] == 1 else f"{label} ({evaluation})" for size, label, evaluation in keys]


def _references(world: World, evaluations: tuple[str, ...]) -> dict[str, float]:
    """Mean score over runs and evaluations of each policy that did not learn; only those that played all of them."""
    policies = dict.fromkeys(policy for run in world.runs for policy in run.policies if policy != "trained")
    found = {}
    for policy in policies:
        played = [
            run.policies[policy] for run in world.runs if set(world.evaluations) <= set(run.policies.get(policy, ()))
        ]
        if played:
            values = [results[name].total.score.value for results in played for name in evaluations]
            found[policy] = float(np.mean(values))
    return found
