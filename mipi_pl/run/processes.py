"""Starting and connecting the processes of a run, before anything else is made, by Lightning's own launchers.

Lightning starts the processes of one machine by itself, and finds those that torchrun or Slurm has started.
"""

from __future__ import annotations

import os
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning import Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from mipi_pl import distributed
from mipi_pl.run.build import build
from mipi_pl.run.config import Config
from mipi_pl.utils.compat import ScriptLauncher
from mipi_pl.utils.errors import UserError

STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true")
"""Names of those that fit: gradients are averaged by `EntityAlgorithm.descend`, so these do the same."""

PRECISIONS = ("32-true", "bf16-mixed")
"""Those that the learning steps are tested with: float16 would need its losses scaled, for each optimizer."""


def connect(node: Config) -> Trainer:
    """Build the Trainer, start the processes of the run and connect them.

    Args:
        node: config of the Trainer.

    Returns:
        The Trainer, in every process; it has no callbacks and loggers yet.

    Raises:
        UserError: as `build_trainer`, and for processes that do not meet.
    """
    trainer = build_trainer(node)
    wanted = trainer.world_size
    started = distributed.size() if distributed.size() > 1 else _started_by_a_launcher()
    if started not in (1, wanted):
        raise UserError(
            f"{started} processes were started, and trainer.devices x trainer.num_nodes is {wanted}: set "
            "trainer.devices to the processes of one machine and trainer.num_nodes to the number of machines"
        )
    if wanted > 1 and HydraConfig.initialized():
        raise UserError(
            "a multirun trains one run after the other in one process; start runs on several devices one by one, "
            "such as by a loop of the shell"
        )
    if wanted > 1:
        _start(trainer.strategy)
    return trainer


def build_trainer(node: Config) -> Trainer:
    """The Trainer of a run, without callbacks and loggers.

    Raises:
        UserError: for devices that do not exist, or a strategy, precision or option that does not fit.
    """
    precision = node.get("precision", PRECISIONS[0])
    if precision not in PRECISIONS:
        raise UserError(f"trainer.precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    chosen = node.get("strategy", "auto")
    if isinstance(chosen, str) and chosen not in STRATEGIES:
        raise _does_not_fit(chosen)
    try:
        trainer: Trainer = build("trainer", node, logger=False, callbacks=[])
    except (UserError, RuntimeError) as error:  # the second is Lightning's, of Slurm's settings
        asked = ", ".join(
            f"trainer.{key}={node[key]}" for key in ("accelerator", "devices", "num_nodes") if key in node
        )
        raise UserError(f"trainer: {str(error).removeprefix('trainer: ')} (asked for {asked})") from error
    if trainer.gradient_clip_val is not None or trainer.accumulate_grad_batches != 1:
        raise UserError(
            "trainer.gradient_clip_val and trainer.accumulate_grad_batches are not for learners that make their own "
            "optimizer steps: algorithm.gradient_clip clips gradients, and the datamodule says how large a batch is"
        )
    strategy = trainer.strategy
    by_script = strategy.launcher is None or isinstance(strategy.launcher, ScriptLauncher)
    if type(strategy) not in (SingleDeviceStrategy, DDPStrategy) or not by_script:
        raise _does_not_fit(type(strategy).__name__)
    return trainer


def _start(strategy: Any) -> None:
    try:
        strategy.launcher.launch(strategy.setup_environment)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"the processes of this run could not be connected: {error}") from error


def _started_by_a_launcher() -> int:
    """As torchrun or Slurm's srun says; 1 without them."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))


def _does_not_fit(strategy: str) -> UserError:
    return UserError(
        f"trainer.strategy={strategy} does not fit: several optimizers and target networks need all parameters in "
        f"every process, and each process the same command; those that fit: {', '.join(STRATEGIES)}"
    )
