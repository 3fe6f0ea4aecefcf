"""Uses of private names of libraries, each with the library version it was last checked with.

New versions of these libraries may rename them, so look here first if an upgrade fails. Uses elsewhere, which belong to
a class or a network connection of their module:

* algorithms/base.py: `_trainer` of LightningModule, which is None without a Trainer (lightning 2.6.6)
* envs/starcraft2/game.py: the socket of a connection (websockets, as pysc2 4 uses them)
* logging/csv.py: hooks of CSVLogger (lightning 2.6.6)
* logging/dashboard.py: the specification of a workspace (wandb-workspaces)
* logging/wandb.py: state of WandbLogger (lightning 2.6.6)
* utils/compiled.py: the cache of a compiled function (numba 0.68)
* models/kernels: numba's intrinsics (`numba.extending`, `numba.core.cgutils`, `numba.np.arrayobj`; 0.68)
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # hydra-core 1.3.8
from hydra.core.override_parser.overrides_parser import OverridesParser
from lightning import Callback, Trainer
from lightning.fabric.loggers.csv_logs import _ExperimentWriter  # lightning 2.6.6
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver  # lightning 2.6.6
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher  # lightning 2.6.6

if TYPE_CHECKING:
    from tensordict import TensorDictBase
    from torchrl.collectors import Collector

CSVWriter = _ExperimentWriter
"""Writer of the rows of Lightning's CSVLogger."""

ScriptLauncher = _SubprocessScriptLauncher
"""Lightning's launcher that starts the other processes of a run by running its command again."""


def sweep(overrides: list[str]) -> list[list[str]]:
    """Return the overrides of each job of a multirun, as Hydra's basic sweeper splits them.

    Raises:
        HydraException: for an override that cannot be parsed.
    """
    parsed = OverridesParser.create().parse_overrides(overrides)
    batches: Sequence[Sequence[Sequence[str]]] = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return [list(job) for batch in batches for job in batch]


def attach(
    trainer: Trainer, node: Mapping[str, Any], callbacks: Sequence[Callback], loggers: Sequence[Logger], folder: Path
) -> None:
    """Give an existing Trainer its callbacks, loggers and root folder, as its constructor would.

    They depend on the run folder, which is known only after the Trainer has started and connected the processes of the
    run. Checked with lightning 2.6.6.

    Args:
        trainer: Trainer to change.
        node: config the Trainer was built from.
        callbacks: callbacks of the run; the Trainer adds its default ones.
        loggers: loggers of the run; a `fast_dev_run` logs nothing.
        folder: default root folder.

    Raises:
        MisconfigurationException: if callbacks contradict each other or the config.
        RuntimeError: if two callbacks have the same state key.
    """
    enabled = (node.get(f"enable_{part}") is not False for part in ("checkpointing", "progress_bar", "model_summary"))
    checkpointing, progress_bar, model_summary = enabled
    trainer._callback_connector.on_trainer_init(
        list(callbacks), checkpointing, progress_bar, str(folder), model_summary, node.get("max_time")
    )
    quick = bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
    trainer.loggers = [DummyLogger()] if quick and loggers else list(loggers)


def leave_alone(launcher: object) -> None:
    """Keep Lightning from killing the other processes of the run when this one is interrupted.

    Lightning kills them at once with SIGKILL. They stop by themselves between two updates, and must close what they
    have open. Its observer, which kills all processes if one fails, has done its work once they are connected:
    `mipi_pl.run.lost_processes` watches them from then on. Checked with lightning 2.6.6.
    """
    if isinstance(launcher, ScriptLauncher):
        launcher.procs = []
    for thread in threading.enumerate():
        if isinstance(thread, _ChildProcessObserver):
            thread._child_processes = []


def observation_of(collector: Collector) -> TensorDictBase:
    """Return the observation from which the collector's next step starts. Checked with torchrl 0.14.1."""
    carrier: TensorDictBase = collector._carrier
    return carrier


def without_signal_handlers(trainer: Trainer) -> None:
    """Prevent Lightning from installing its signal handlers.

    The handlers communicate with the other processes at arbitrary points of their work, and under Slurm they write a
    Lightning checkpoint instead of ours. Checked with lightning 2.6.6.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def without_step_counting(optimizers: Iterable[LightningOptimizer]) -> None:
    """Exclude further optimizer steps in the current batch from the number of global steps.

    Lightning counts every optimizer step as a global step, and resumes counting with the next batch. Checked with
    lightning 2.6.6.
    """
    for optimizer in optimizers:
        optimizer._on_before_step = optimizer._on_after_step = lambda: None
