"""Grouping of runs: runs in the same world are compared; runs that differ only in the seed form a group."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mipi_pl.evaluation.seeds import UNBOUNDED, Array, Bounds
from mipi_pl.evaluation.statistics import Estimate
from mipi_pl.evaluation.worlds import TRAINING, measure_of, size_range
from mipi_pl.reporting.labels import RunSet, is_debug, labelled
from mipi_pl.reporting.runs import EXTENDED_FROM, Run

Settings = tuple[tuple[str, str], ...]
"""Keys and values of the settings that affect results, sorted by key."""

OF_WORLD = ("env", "held_out.seed", "held_out.worlds")
"""Settings that runs of one world share."""
OF_LEARNER = (
    "algorithm",
    "datamodule",
    "callbacks",
    "total_frames",
    EXTENDED_FROM,
    "trainer.precision",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.max_epochs",
    "trainer.max_steps",
    "trainer.max_time",
)
"""Settings that the seeds of one algorithm share."""
_IRRELEVANT = (  # whole paths: a world or an algorithm of the user's own may have arguments with these names
    "env.parallel",
    "datamodule.make_env",
    "datamodule.storage",
    "datamodule.storage_dir",
    "datamodule.updates_per_epoch",
    "datamodule.collector",
    "datamodule.workers",
    "datamodule.max_faults",
    "datamodule.lost_after_s",
    "callbacks.generalization",
    "callbacks.video",
    "callbacks.collection",
    "callbacks.frame_budget",
    "callbacks.checkpointing",
    "callbacks.progress",
)


@dataclass(frozen=True)
class Group:
    """Seeds of one algorithm in one world.

    Attributes:
        label: name of the algorithm, with what tells it from other groups of this name.
        runs: finished runs, one per seed, sorted by seed.
        of: name, settings and all runs of the group.
    """

    label: str
    runs: tuple[Run, ...]
    of: RunSet

    @property
    def has_letter(self) -> bool:
        """Whether the label ends with a letter that only tells the groups of one world apart."""
        return re.fullmatch(rf"{re.escape(self.of.name)} [A-Z]+", self.label) is not None

    def estimates(self, evaluations: Sequence[str]) -> list[list[Estimate]]:
        """Return the final scores of S seeds in K evaluations, with their intervals over episodes, [S][K]."""
        return [[run.policies["trained"][name].total.score for name in evaluations] for run in self.runs]

    def scores(self, evaluations: Sequence[str]) -> Array:
        """Return the final scores of the trained policies of S seeds in K evaluations, [S, K]."""
        return np.array([[score.value for score in row] for row in self.estimates(evaluations)])


@dataclass(frozen=True)
class World:
    """All finished runs in the same world, which may be compared.

    Attributes:
        label: name of the environment, with what tells it from other worlds of this name.
        groups: groups of runs, sorted by label.
        evaluations: evaluations that all runs have played, the training teams first.
        duplicates: finished runs that are ignored because another run of the same group and seed is used.
        of: name, settings and all runs of the world.
    """

    label: str
    groups: tuple[Group, ...]
    evaluations: tuple[str, ...]
    duplicates: tuple[Run, ...]
    of: RunSet

    @property
    def held_out(self) -> tuple[str, ...]:
        """Evaluations on held-out teams."""
        return tuple(name for name in self.evaluations if name != TRAINING)

    @property
    def measure(self) -> str:
        """Name of the score: ``win rate`` or ``return``."""
        return measure_of(self.winnable)

    @property
    def winnable(self) -> bool:
        """Whether scores are win rates."""
        return all(run.policies["trained"][TRAINING].total.winnable for run in self.runs)

    @property
    def bounds(self) -> Bounds:
        """Bounds of a score."""
        return (0.0, 1.0) if self.winnable else UNBOUNDED

    @property
    def runs(self) -> tuple[Run, ...]:
        """Runs of all groups."""
        return tuple(run for group in self.groups for run in group.runs)

    def sizes_of(self, evaluation: str) -> str:
        """Return the name of an evaluation in tables; for the training teams, their sizes."""
        if evaluation != TRAINING:
            return evaluation
        sizes = sorted({size for run in self.runs for size in run.policies["trained"][TRAINING].by_size})
        return f"{size_range(sizes)}, trained" if len(sizes) > 1 else "trained"


def worlds_of(runs: Sequence[Run]) -> list[World]:
    """Sort the finished runs into worlds and groups."""
    finished = [run for run in runs if run.state == "finished"]
    found = labelled(_sets(finished, lambda run: run.environment, OF_WORLD))
    return [_world(label, members) for label, members in found.items()]


def _world(label: str, of_world: RunSet) -> World:
    groups, duplicates = [], []
    for name, members in labelled(_sets(of_world.runs, name_of, OF_LEARNER)).items():
        newest: dict[int | None, Run] = {}
        for run in sorted(members.runs, key=lambda run: run.precedence):
            if run.seed in newest:
                duplicates.append(newest[run.seed])
            newest[run.seed] = run
        groups.append(Group(name, tuple(sorted(newest.values(), key=lambda run: run.seed or 0)), members))
    played = [run.policies["trained"] for group in groups for run in group.runs]
    common = [name for name in played[0] if all(name in other for other in played)]
    return World(label, tuple(groups), tuple(common), tuple(duplicates), of_world)


def name_of(run: Run) -> str:
    """Return the name of a run's algorithm, or the user's label; runs of a debug config are marked."""
    return f"{run.algorithm} (debug)" if is_debug(run) else run.algorithm


def _sets(runs: Sequence[Run], name_of: Callable[[Run], str], keys: Sequence[str]) -> list[RunSet]:
    """Sort runs into sets with the same name and settings."""
    by_settings: dict[tuple[str, Settings], list[Run]] = {}
    for run in runs:
        by_settings.setdefault((name_of(run), settings(run.config, keys)), []).append(run)
    return [RunSet(name, dict(chosen), tuple(members)) for (name, chosen), members in by_settings.items()]


def settings(config: Mapping[str, Any], keys: Sequence[str]) -> Settings:
    """Return the settings under `keys` as flat dotted keys, without settings that do not affect results.

    A number of frames equal to ``total_frames`` is replaced by that name, so that settings derived from the budget do
    not count as further differences. A whole number counts as the same in either form, 1 or 1.0. Null and false are
    omitted, because most keys that newer versions added have such a value, and runs of older versions lack the key.
    """
    flat: dict[str, str] = {}

    def flatten(node: object, path: str) -> None:
        if isinstance(node, Mapping):
            for key, value in node.items():
                below = f"{path}.{key}" if path else str(key)
                # The seed of a world, such as that of its split, decides which teams are trained on and held out.
                is_run_seed = key == "seed" and not below.startswith(("env.", "held_out."))
                if below not in _IRRELEVANT and not is_run_seed:
                    flatten(value, below)
        elif node is not None and node is not False and any(path == key or path.startswith(f"{key}.") for key in keys):
            derived = path != "total_frames" and not path.startswith(("env.", "held_out."))
            is_budget = derived and type(node) is int and node == config.get("total_frames")
            flat[path] = "total_frames" if is_budget else _text_of(node)

    flatten(config, "")
    return tuple(sorted(flat.items()))


def _text_of(value: object) -> str:
    """Return a value as text, in which equal numbers are equal: 1.0 is 1."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text_of, value))}]"
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
