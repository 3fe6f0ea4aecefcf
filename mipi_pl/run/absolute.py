"""The absolute metric of a run: its best checkpoint, evaluated in ten times the episodes of its learning curve.

It is defined in Gorsane et al., "Towards a Standardised Performance Evaluation Protocol for Cooperative MARL" (NeurIPS
2022), section 4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from mipi_pl.run import own_folder
from mipi_pl.storage.run_folder import CONFIG
from mipi_pl.utils.errors import UserError

TIMES = 10
"""Episodes of the absolute metric, as a multiple of the episodes of an evaluation while learning."""
BEST = "best.ckpt"
_MONITOR = "eval/score_training"
_OF_TRAINING_TEAMS = r"eval/\w+_training|collect/\w+"
"""Metrics by which no held-out team selects a checkpoint."""
ALLOWED = ("output_dir", "threads", "held_out.baselines")
"""Overrides that leave the metric as it is defined. Others, such as the seed of the episodes by which the checkpoint
was selected, would be stored as the absolute metric without being it."""


def absolute_evaluation(path: Path, overrides: Sequence[str]) -> tuple[Path, list[str]]:
    """Return the best checkpoint of a run and the overrides that evaluate it.

    The seed is the next one after that of the run's evaluations, so that the checkpoint plays other episodes than those
    by which it was selected.

    Args:
        path: run folder, or a checkpoint in it.
        overrides: further overrides of the user, of the keys in `ALLOWED`, and ``--config-dir FOLDER``.

    Returns:
        The checkpoint, and the overrides with those of the user last.

    Raises:
        UserError: if there is no best checkpoint, or held-out teams selected it; if an override has another key, or the
            config cannot be read.
    """
    config_dir, overrides = own_folder.split(overrides)
    for override in overrides:
        if override.lstrip("+~").partition("=")[0] not in ALLOWED:
            raise UserError(
                "--absolute takes the worlds, the number of episodes and the seed from the run, and only "
                f"{', '.join(ALLOWED)} from the command: leave out --absolute or {override}"
            )
    folder = path if path.is_dir() else path.resolve().parent.parent
    checkpoint = folder / "checkpoints" / BEST
    if not checkpoint.is_file():
        raise UserError(f"--absolute needs a run folder with checkpoints/{BEST}, such as outputs/latest, got {path}")
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        callbacks, seed = config["callbacks"], int(config["held_out"]["seed"])
        episodes = int(callbacks["generalization"]["episodes"])
        monitor = str((callbacks.get("checkpointing") or {}).get("monitor", _MONITOR))
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise UserError(f"{folder / CONFIG} does not say how many episodes an evaluation of the run has") from error
    if not re.fullmatch(_OF_TRAINING_TEAMS, monitor):
        raise UserError(
            f"--absolute needs a {BEST} that the training teams selected, such as by {_MONITOR}; this run selected it "
            f"by callbacks.checkpointing.monitor={monitor}"
        )
    settings = [f"held_out.episodes={TIMES * episodes}", f"seed={seed + 1}", "held_out.baselines=[]"]
    return checkpoint, [*own_folder.as_flag(config_dir), *settings, *overrides]
