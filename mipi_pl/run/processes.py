"""Start and connection of the processes of a run by Lightning's launchers, before anything else is built.

Lightning starts the processes of one machine itself and detects those that torchrun or Slurm has started.
"""

from __future__ import annotations

import os
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning import Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from mipi_pl import distributed
from mipi_pl.run.build import build
from mipi_pl.run.schema import Node
from mipi_pl.utils.compat import ScriptLauncher, leave_alone
from mipi_pl.utils.errors import UserError

STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true")
"""Supported strategies. `EntityAlgorithm.descend` averages the gradients, so the DDP variants are equivalent."""

_MAX_PROCESSES = 1024
"""Bound of each of devices and machines, because Lightning makes lists of them, and on a processor one process each."""

PRECISIONS = ("32-true", "bf16-mixed")
"""Supported precisions, which the learning steps are tested with; float16 would need loss scaling per optimizer."""


def connect(node: Node) -> Trainer:
    """Build the Trainer, start the processes of the run and connect them.

    Args:
        node: config of the Trainer.

    Returns:
        The Trainer of this process; it has no callbacks or loggers yet.

    Raises:
        UserError: as for `build_trainer`, and if the processes cannot be connected or their number does not match the
            config.
    """
    trainer = build_trainer(node)
    wanted = trainer.world_size
    started = distributed.size() if distributed.size() > 1 else _started_by_a_launcher()
    if started not in (1, wanted):
        raise UserError(
            f"{started} processes were started, but trainer.devices x trainer.num_nodes is {wanted}: set "
            "trainer.devices to the number of processes per machine and trainer.num_nodes to the number of machines"
        )
    if node.get("num_nodes", 1) != 1 and started == 1 and "MASTER_ADDR" not in os.environ:
        raise UserError(
            f"trainer.num_nodes={node['num_nodes']} needs torchrun or srun, which start the processes: "
            "see docs/several_machines.md"
        )
    if wanted > 1 and _in_a_multirun():
        raise UserError(
            "a multirun trains one run after the other in one process; start runs on several devices separately, "
            "for example in a shell loop"
        )
    if wanted > 1:
        _start(trainer.strategy)
        leave_alone(trainer.strategy.launcher)
    return trainer


def _in_a_multirun() -> bool:
    # Hydra's config is also set in a program with a `hydra.main` of its own, which may train in several processes.
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def build_trainer(node: Node) -> Trainer:
    """Build the Trainer of a run, without callbacks and loggers.

    Raises:
        UserError: if the devices do not exist, or a strategy, precision or option is not supported.
    """
    precision = node.get("precision", PRECISIONS[0])
    if precision not in PRECISIONS:
        raise UserError(f"trainer.precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    chosen = node.get("strategy", "auto")
    if isinstance(chosen, str) and chosen not in STRATEGIES:
        raise _does_not_fit(chosen)
    for key in ("devices", "num_nodes"):
        if isinstance(node.get(key), int) and node[key] > _MAX_PROCESSES:
            raise UserError(f"trainer.{key} must be at most {_MAX_PROCESSES}, got {node[key]}")
    try:
        trainer: Trainer = build("trainer", node, logger=False, callbacks=[])
    except (UserError, RuntimeError) as error:  # Lightning raises RuntimeError for Slurm settings
        asked = ", ".join(
            f"trainer.{key}={node[key]}" for key in ("accelerator", "devices", "num_nodes") if key in node
        )
        raise UserError(f"trainer: {str(error).removeprefix('trainer: ')} (asked for {asked})") from error
    _refuse_options(trainer)
    strategy = trainer.strategy
    by_script = strategy.launcher is None or isinstance(strategy.launcher, ScriptLauncher)
    if type(strategy) not in (SingleDeviceStrategy, DDPStrategy) or not by_script:
        raise _does_not_fit(type(strategy).__name__)
    return trainer


def _refuse_options(trainer: Trainer) -> None:
    """Check that no option of Lightning is chosen that the program does itself.

    Raises:
        UserError: if one is; the message says what to do instead.
    """
    if trainer.gradient_clip_val is not None or trainer.accumulate_grad_batches != 1:
        raise UserError(
            "trainer.gradient_clip_val and trainer.accumulate_grad_batches are not supported, because the learners "
            "take their own optimizer steps: algorithm.gradient_clip clips gradients, and the datamodule sets the "
            "batch size"
        )
    if trainer.min_steps or trainer.min_epochs:
        raise UserError(
            "trainer.min_steps and trainer.min_epochs are not supported, because they would keep a run from ending "
            "after total_frames; raise total_frames instead"
        )


def _start(strategy: Any) -> None:
    try:
        strategy.launcher.launch(strategy.setup_environment)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"the processes of this run could not be connected: {error}") from error


def _started_by_a_launcher() -> int:
    """Return the number of processes that torchrun or Slurm's srun has started, or 1 without them."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))


def _does_not_fit(strategy: str) -> UserError:
    return UserError(
        f"trainer.strategy={strategy} is not supported: several optimizers and target networks need all parameters in "
        f"every process, and every process must run the same command; supported: {', '.join(STRATEGIES)}"
    )
