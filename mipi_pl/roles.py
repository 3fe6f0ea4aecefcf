"""The callbacks of a run, and their roles: what a run needs to know about them beyond Lightning's interface."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, cast

from lightning import Trainer

Role = Literal[
    "ends_training",
    "refreshes_targets",
    "adds_partitions",
    "by_utilities",
    "at_evaluations",
    "evaluated_at",
    "worlds",
    "stop_requested",
    "owed_files",
    "lost_files",
]
"""Attribute by which a run recognizes a role. A callback, also one of the user's own, has those of its roles only.

* ends_training: True if it ends training, so that the Trainer needs no limit.
* refreshes_targets: True if it updates the target networks of the algorithm.
* adds_partitions: True if it adds the imaginary partitions that the algorithm needs to each batch.
* by_utilities: True if it also evaluates the actions of highest utility, which an algorithm must have beside a policy.
* at_evaluations: True if it acts at evaluations, so that another callback must evaluate.
* evaluated_at: frames at its latest evaluation; None before the first.
* worlds: `mipi_pl.evaluation.worlds.Worlds` in which it evaluates.
* stop_requested: set to True by the run, to end training after the present update, with a checkpoint.
* owed_files: names of files that the end of the run needs and that could not be written so far.
* lost_files: names of files that could not be written and that the end of the run does not need.
"""


def callbacks_of(trainer: Trainer) -> list[Any]:
    """Return the callbacks of a run. The attribute of Lightning's Trainer has no type."""
    return cast(list[Any], trainer.callbacks)  # type: ignore[attr-defined]


def having(callbacks: Iterable[Any], role: Role) -> list[Any]:
    """Return the callbacks that have the attribute of a role."""
    return [callback for callback in callbacks if hasattr(callback, role)]
