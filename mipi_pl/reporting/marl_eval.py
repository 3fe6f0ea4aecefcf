"""Export to the JSON format of marl-eval, the evaluation tools of Gorsane et al. (NeurIPS 2022).

The format is that of the README of https://github.com/instadeepai/marl-eval: environment, task, algorithm, run, step.
A task is an evaluation, so that a team size is a task. A win rate is a list of zeros and ones, one per episode, in no
particular order; a return is a list with the mean of the episodes, because runs store no more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mipi_pl.reporting.groups import Group, World
from mipi_pl.reporting.labels import unique
from mipi_pl.reporting.run_files import read_mapping
from mipi_pl.reporting.runs import Run
from mipi_pl.reporting.tallies import Played, Tally, read_policy
from mipi_pl.run.absolute import BEST, TIMES
from mipi_pl.storage.files import replacing, sha256_of
from mipi_pl.storage.run_folder import RESULTS

Tree = dict[str, Any]


def write_marl_eval(path: Path, worlds: Sequence[World]) -> list[str]:
    """Write the runs of all worlds to a file.

    Returns:
        What the reader of the file should know, one note per line.

    Raises:
        OSError: if the file cannot be written.
    """
    names = _lowered([world.label for world in worlds])
    content = {name: _tasks(world) for name, world in zip(names, worlds, strict=True)}
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return [note for world in worlds for note in _notes(world)]


def _tasks(world: World) -> Tree:
    seeds = [[run.seed for run in group.runs] for group in world.groups]
    # marl-eval looks for the names of the first algorithm's runs in all algorithms.
    is_by_seed = all(of_group == seeds[0] for of_group in seeds) and None not in seeds[0]
    absolute = {run.folder: absolute_of(run) or run.policies["trained"] for run in world.runs}

    def runs_of(group: Group, evaluation: str) -> Tree:
        return {
            f"seed_{run.seed}" if is_by_seed else f"run_{place + 1}": {
                **_steps(run, evaluation),
                "absolute_metrics": _metrics(absolute[run.folder][evaluation].total),
            }
            for place, run in enumerate(group.runs)
        }

    names = _lowered([world.sizes_of(evaluation) for evaluation in world.evaluations])
    return {
        name: {group.label: runs_of(group, evaluation) for group in world.groups}
        for name, evaluation in zip(names, world.evaluations, strict=True)
    }


def _lowered(names: Sequence[str]) -> list[str]:
    """Return names in small letters, as marl-eval writes them; those that become equal get apostrophes."""
    return unique([name.lower() for name in names], {})


def _steps(run: Run, evaluation: str) -> Tree:
    points = run.points(evaluation)
    return {
        f"step_{number}": {"step_count": point.frames, **_metrics(point.tally)} for number, point in enumerate(points)
    }


def _metrics(tally: Tally) -> Tree:
    won = round(tally.score.value * tally.episodes)
    rate = {"win_rate": [1.0] * won + [0.0] * (tally.episodes - won)} if tally.winnable else {}
    return {**rate, "return": [tally.mean_return]}


def absolute_of(run: Run) -> dict[str, Played] | None:
    """Return the newest evaluation by `mipi eval --absolute` of the present best checkpoint; None if there is none.

    It must have all evaluations of the run, each with at least ten times the episodes of the learning curve.
    """
    needed = TIMES * episodes_while_learning(run)
    best = run.folder / "checkpoints" / BEST
    for path in sorted(run.folder.glob(f"eval/*/{RESULTS}"), reverse=True):
        try:
            content = read_mapping(path)
            if not content["absolute"] or content["checkpoint"]["sha256"] != sha256_of(best):
                continue
            played = read_policy(content)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not an evaluation of this version, or damaged
        names = set(run.policies["trained"])
        if names <= set(played) and all(played[name].total.episodes >= needed for name in names):
            return played
    return None


def episodes_while_learning(run: Run) -> int:
    """Return the smallest number of episodes of a point on the learning curve; 1 if there is no curve."""
    return min((point.tally.episodes for name in run.policies["trained"] for point in run.points(name)), default=1)


def _notes(world: World) -> Iterator[str]:
    lacking = [run for run in world.runs if absolute_of(run) is None]
    if lacking:
        episodes = sorted({played.total.episodes for run in lacking for played in run.policies["trained"].values()})
        yield (
            f"{world.label}: the absolute metric of {len(lacking)} of {len(world.runs)} runs is the final evaluation "
            f"of their last policy, of {' or '.join(f'{n:,}' for n in episodes)} episodes; mipi eval RUN --absolute "
            "evaluates the best checkpoint on ten times the episodes of an evaluation while learning"
        )
    if len({len(group.runs) for group in world.groups}) > 1:
        yield f"{world.label}: algorithms have different numbers of seeds; marl-eval reads only equal ones"
    steps = {len(run.points(name)) for run in world.runs for name in world.evaluations}
    if len(steps) > 1:
        yield f"{world.label}: runs have different numbers of evaluations; marl-eval reads only equal ones"
