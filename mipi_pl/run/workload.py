"""Notes on the work of a run that its number of frames does not show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mipi_pl.evaluation.worlds import Worlds, workload_note
from mipi_pl.roles import callbacks_of, having
from mipi_pl.run.parts import Parts

_MANY_FRAMES = 5_000_000
"""Environment steps of a run."""
_MANY_STEPS = 20_000
"""Environment steps of one collection."""
_MANY_OPTIMIZER_STEPS = 1_000
"""Optimizer steps after one rollout or episode."""


def note_without_experiment(run: Mapping[str, Any], total_frames: int) -> str | None:
    """Return a note for the user if the length of a run was chosen neither by an experiment nor by an override.

    Args:
        run: node `run` of the config, its names and overrides.
        total_frames: frames of the run.
    """
    chosen = any(override.lstrip("+").startswith("total_frames=") for override in run["overrides"])
    if run["experiment"] or chosen or total_frames < _MANY_FRAMES:
        return None
    return (
        f"note: without an experiment, a run of {run['algorithm']} has {total_frames:,} frames; "
        "experiment=cpu (battles) and experiment=small (other environments) take minutes on a processor"
    )


def notes(parts: Parts, worlds: Worlds, total_frames: int) -> Iterator[str]:
    """Yield notes for the user about evaluations, rollouts and updates that take long; none for those of usual sizes.

    Args:
        parts: objects of the run.
        worlds: worlds of the evaluations at its start and end.
        total_frames: frames of the run.
    """
    evaluating = having(callbacks_of(parts.trainer), "worlds")
    while_training = [callback.worlds for callback in evaluating if isinstance(callback.worlds, Worlds)]
    most = max(each.episodes for each in (worlds, *while_training))
    evaluation = workload_note(len(worlds.worlds), most, parts.datamodule.env.entity_spec.max_steps)
    if evaluation:
        yield evaluation
    data: Any = parts.datamodule
    steps = getattr(data, "num_envs", 1) * getattr(data, "steps_per_collection", 1)
    if steps >= _MANY_STEPS and steps > total_frames:
        yield f"note: one collection plays {steps:,} steps, and total_frames is {total_frames:,}; Ctrl-C twice ends it"
    updates = max(1.0, getattr(data, "updates_per_episode", 1.0))
    steps = updates * parts.algorithm.steps_per_update(getattr(data, "num_envs", 1))
    if steps >= _MANY_OPTIMIZER_STEPS:
        each = "rollout" if parts.algorithm.on_policy else "episode"
        yield f"note: {steps:,.0f} optimizer steps follow each {each}; Ctrl-C ends them, twice within an update"
