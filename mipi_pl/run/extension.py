"""A run that is trained longer than its config says: `mipi resume RUN total_frames=N`.

The checkpoint of the last update continues as after an interruption, with a larger budget. Every schedule whose key is
``total_frames``, such as the decay of the learning rates, follows the new total.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mipi_pl.run.changes import parsed_overrides
from mipi_pl.run.kinds import imported
from mipi_pl.run.schema import Config
from mipi_pl.storage import extended, run_folder
from mipi_pl.storage.checkpoints import CheckpointFolder
from mipi_pl.storage.extended import TOTAL_FRAMES as KEY
from mipi_pl.storage.extended import Extension
from mipi_pl.storage.files import DamagedError, link_or_copy, unused
from mipi_pl.utils.errors import UserError

_RESULTS = (run_folder.RESULTS, "results.csv", "results.png")
"""Files of the results; the first makes a run count as finished."""
_TRAINER_LIMITS = ("max_steps", "max_epochs", "max_time")
"""Arguments of the Trainer that end training whatever the budget."""


def wanted_total(overrides: Sequence[str]) -> int | None:
    """Return the budget that the user names for a resumed run; None without one.

    Raises:
        UserError: if another key is changed, or the value is not a whole number.
    """
    total: int | None = None
    for override in parsed_overrides(overrides):
        if override.key_or_group != KEY or override.is_delete():
            raise UserError(
                f"a resumed run keeps its config, and only {KEY} can be raised, got {override.input_line}; to train "
                "with another config from this policy, start a new run: mipi train algorithm.init_from=CHECKPOINT"
            )
        value: Any = None if override.is_sweep_override() else override.value()
        if type(value) is not int:
            raise UserError(f"{KEY} must be a whole number of environment steps, got {override.input_line}")
        total = value
    return total


def recorded(folder: Path) -> Extension | None:
    """Return the recorded extension of the run in `folder`; None if there is none.

    Raises:
        UserError: if its file is damaged.
    """
    try:
        return extended.recorded(folder)
    except DamagedError as error:
        shown = run_folder.shown(folder)
        raise UserError(f"{error}; name the budget of the run again: mipi resume {shown} {KEY}=...") from error


def refuse_short(total: int, frames: int, run: Path) -> None:
    """Check that a budget is larger than the number of frames that a run has been trained for.

    Raises:
        UserError: if it is not.
    """
    if total <= frames:
        raise UserError(f"{KEY} must be above {frames:,}, the frames that {run} is trained for, got {total:,}")


def refuse_own_budgets(config: Config) -> None:
    """Check that no callback and no limit of the Trainer ends a longer run before its budget.

    A limit of the Trainer is not compared with the budget, because it counts optimizer steps, epochs or time.

    Raises:
        UserError: if a callback has a smaller budget of its own, or the Trainer has a limit.
    """
    total = config["total_frames"]
    for limit in _TRAINER_LIMITS:
        if config["trainer"].get(limit) not in (None, -1):
            raise UserError(
                f"trainer.{limit}={config['trainer'][limit]} can end the run before {total:,} frames: begin a new run "
                "with algorithm.init_from"
            )
    for name, node in config["callbacks"].items():
        own = node.get(KEY) if isinstance(node, dict) else None
        if not isinstance(own, (int, float)) or own >= total:
            continue
        if getattr(imported(node["_target_"], f"callbacks.{name}"), "ends_training", False):
            raise UserError(
                f"callbacks.{name}.{KEY}={own} is a budget of its own and would end the run before {total:,} "
                "frames: begin a new run with algorithm.init_from"
            )


def _frames_of_results(folder: Path, frames: int) -> int:
    """Return the frames after which the results were made; `frames` if that cannot be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return int(json.loads((folder / run_folder.RESULTS).read_text(encoding="utf-8"))["frames"])
    return frames


def begin(folder: Path, extension: Extension, frames: int) -> None:
    """Record an extension, so that the run continues to it after an interruption, and set earlier results aside.

    The checkpoints that the results describe are set aside with them, because training replaces them.

    Args:
        folder: run folder.
        extension: the new budget, and those before it.
        frames: frames that the run has been trained for.

    Raises:
        UserError: if the folder cannot be written to.
    """
    results = [folder / name for name in _RESULTS if (folder / name).exists()]
    try:
        earlier = unused(folder / run_folder.EARLIER / f"{_frames_of_results(folder, frames)}_frames")
        extended.record(folder, extension)
        if results:
            earlier.mkdir(parents=True, exist_ok=True)
            for checkpoint in CheckpointFolder(folder).of_results():
                link_or_copy(checkpoint, earlier / checkpoint.name)
        for path in results:
            os.replace(path, earlier / path.name)
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror or error})") from error


def following(folder: Path, total: int, budget: int) -> Extension:
    """Return an extension of the run in `folder` to `total` frames, with the budgets before it.

    Args:
        folder: run folder.
        total: the new budget.
        budget: the budget in the config of the newest checkpoint.
    """
    with suppress(DamagedError):
        before = extended.recorded(folder) or Extension(budget)
        known = dict.fromkeys((*before.former, before.total))
        return Extension(total, tuple(former for former in known if former != total))
    return Extension(total, (budget,))
