"""Warnings about anything that weakens the comparisons in a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from mipi_pl.evaluation.statistics import wilson
from mipi_pl.reporting.estimates import MARK
from mipi_pl.reporting.groups import World
from mipi_pl.reporting.labels import is_debug
from mipi_pl.reporting.runs import Run

T = TypeVar("T")

ENOUGH_SEEDS = 3
ENOUGH_EPISODES = 100
"""With fewer, the 95 % interval of a win rate of 0.5 is wider than 0.40 to 0.60."""


def missing_from(runs: Sequence[Run], worlds: Sequence[World]) -> list[str]:
    """Return a warning for each weakness of a report, such as few seeds or unequal budgets; empty if there are none."""
    warnings = []
    if len(worlds) > 1:
        names = "; ".join(world.label for world in worlds)
        warnings.append(f"different worlds ({names}): at most a probability of improvement is averaged over them")
    for world in worlds:
        warnings += [f"{world.label}: {warning}" for warning in _of_world(world)]
    warnings += [f"{run.folder.parent.name}/{run.folder.name}: {_of_run(run)}" for run in runs if _of_run(run)]
    return warnings


def _of_world(world: World) -> Iterator[str]:
    yield from _of_seeds(world)
    yield from _of_debug(world)
    yield from _of_episodes(world)
    yield from _unequal(world)
    yield from _of_evaluations(world)
    yield from _of_commits(world)
    for run in world.duplicates:
        yield f"{run.folder.parent.name}/{run.folder.name}: ignored, because another run of this seed is used"


def _of_seeds(world: World) -> Iterator[str]:
    few = {group.label: len(group.runs) for group in world.groups if len(group.runs) < ENOUGH_SEEDS}
    for n, names in _by_value(few):
        spread = f"unknown, and intervals ({MARK}) cover only episodes" if n == 1 else "poorly known"
        yield f"{names} {_have(names)} {n} seed{'s' * (n > 1)}, fewer than {ENOUGH_SEEDS}: the spread is {spread}"
    for group in world.groups:
        alike = np.ptp(group.scores(world.evaluations), axis=0) == 0
        names = ", ".join(name for name, equal in zip(world.evaluations, alike, strict=True) if equal)
        if names and len(group.runs) > 1:
            yield f"all seeds of {group.label} have the same score in {names}: intervals ({MARK}) cover only episodes"
    by_group = {group.label: {run.seed for run in group.runs} for group in world.groups}
    if len(set(map(frozenset, by_group.values()))) > 1:
        yield "different seeds: " + "; ".join(f"{name} {_listed(seeds)}" for name, seeds in by_group.items())


def _of_debug(world: World) -> Iterator[str]:
    debug = [run for group in world.groups for run in group.of.runs if is_debug(run)]
    if debug:
        yield (
            f"{len(debug)} debug run{'s' * (len(debug) > 1)}: they show that the program works, not how well an "
            "algorithm learns; --exclude debug leaves them out"
        )


def _of_episodes(world: World) -> Iterator[str]:
    episodes = {
        group.label: min(
            run.policies["trained"][name].total.episodes for run in group.runs for name in world.evaluations
        )
        for group in world.groups
    }
    for few, names in _by_value({label: number for label, number in episodes.items() if number < ENOUGH_EPISODES}):
        text = (
            f"{names} {_have(names, 'was', 'were')} evaluated in only {few} episode{'s' * (few > 1)} per team and seed"
        )
        if not world.winnable:
            yield f"{text} (held_out.episodes)"
            continue
        half = wilson(few // 2, few)
        yield (
            f"{text}: a win rate is known to about ±{(half.high - half.low) / 2:.2f} (held_out.episodes; "
            f"{ENOUGH_EPISODES} are enough for ±0.10)"
        )


def _unequal(world: World) -> Iterator[str]:
    for group in world.groups:
        early = [run for run in group.runs if _length(run) < (run.budget or 0)]
        if early:
            reached, wanted = ({run.frames for run in early}, {run.budget for run in early})
            yield f"{group.label} ended early, at {_listed(reached)} of {_listed(wanted)} frames (total_frames)"
    budgets = {group.label: {_length(run) for run in group.runs} for group in world.groups}
    if len(set().union(*budgets.values())) > 1:
        yield "unequal budgets: " + "; ".join(f"{name} {_listed(sizes)} frames" for name, sizes in budgets.items())
    episodes = {
        group.label: {run.policies["trained"][name].total.episodes for run in group.runs for name in world.evaluations}
        for group in world.groups
    }
    if len(set().union(*episodes.values())) > 1:
        yield "unequal evaluation episodes: " + "; ".join(f"{n} {_listed(e)}" for n, e in episodes.items())


def _length(run: Run) -> int:
    """Return the budget of a run, or the frames that it reached if these are fewer by more than 5 %."""
    budget = run.budget or 0
    return budget if run.frames >= 0.95 * budget > 0 else run.frames


def _of_evaluations(world: World) -> Iterator[str]:
    played = {
        group.label: ", ".join(
            sorted({name for run in group.runs for name in run.policies["trained"]} - set(world.evaluations))
        )
        for group in world.groups
    }
    for alone, names in _by_value({label: alone for label, alone in played.items() if alone}):
        yield f"{names} {_have(names)} played {alone}, but some other runs have not: not compared"
    if not world.held_out:
        yield "no held-out team was played by all runs: generalization cannot be compared"


def _of_commits(world: World) -> Iterator[str]:
    commits = set().union(*(run.commits for run in world.runs))
    if len(commits) > 1:
        yield f"runs come from {len(commits)} commits: " + ", ".join(sorted(short(commit) for commit in commits))
    if any(commit.endswith("-dirty") for commit in commits):
        yield "some runs had uncommitted changes (-dirty), which are not recorded"


def _of_run(run: Run) -> str:
    state = {
        "running": "ignored, because it is still running",
        "interrupted": "ignored, because it was interrupted; continue it with mipi resume",
        "failed": "ignored",
        "damaged": "ignored",
    }.get(run.state, "")
    return "; ".join(part for part in (state, *run.problems) if part)


def _by_value(values: Mapping[str, T]) -> list[tuple[T, str]]:
    """Return each value with the labels that have it, joined by commas, in the order of the labels."""
    return [
        (value, ", ".join(name for name in values if values[name] == value)) for value in dict.fromkeys(values.values())
    ]


def _have(names: str, one: str = "has", several: str = "have") -> str:
    """Return the verb for labels joined by `_by_value`."""
    return several if ", " in names else one


def short(commit: str) -> str:
    """Return the first ten characters of a commit, with ``-dirty`` if it has that suffix."""
    return commit[:10] + ("-dirty" if commit.endswith("-dirty") else "")


def _listed(values: set[int] | set[int | None]) -> str:
    return ", ".join(f"{value:,}" if value is not None else "?" for value in sorted(values, key=lambda v: v or 0))
