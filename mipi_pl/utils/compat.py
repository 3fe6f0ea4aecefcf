"""Private names of libraries that the program needs, in one place, with the version that each was last checked in.

A new version of one of these libraries may rename them: look here first when an upgrade fails. `models/kernels` builds
on numba's intrinsics (`numba.extending`, `numba.core.cgutils`, `numba.np.arrayobj`; 0.68) and is held by its own tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # hydra-core 1.3.8
from hydra.core.override_parser.overrides_parser import OverridesParser
from lightning import Callback, Trainer
from lightning.fabric.loggers.csv_logs import _ExperimentWriter  # lightning 2.6.6
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher  # lightning 2.6.6
from lightning.pytorch.trainer.connectors.callback_connector import _validate_callbacks_list  # lightning 2.6.6

CSVWriter = _ExperimentWriter
"""What writes the rows of Lightning's CSVLogger."""

ScriptLauncher = _SubprocessScriptLauncher
"""The launcher that starts the processes of a run by running its command again."""


def sweep(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a multirun, as Hydra's own sweeper would make them.

    Raises:
        HydraException: for an override that cannot be read.
    """
    parsed = OverridesParser.create().parse_overrides(overrides)
    batches: Sequence[Sequence[Sequence[str]]] = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return [list(job) for batch in batches for job in batch]


def equip(trainer: Trainer, callbacks: Sequence[Callback], loggers: Sequence[Logger], folder: Path) -> None:
    """Give a Trainer what its constructor would have taken.

    The processes of a run are started and connected by its Trainer. Only then is the run folder known, and with it the
    callbacks and loggers. Seen in lightning 2.6.6.

    Raises:
        RuntimeError: if two callbacks would save their states under one name.
    """
    defaults: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if any(isinstance(callback, ProgressBar) for callback in callbacks):
        defaults = [callback for callback in defaults if not isinstance(callback, ProgressBar)]
    trainer.callbacks = equipped = [*callbacks, *defaults]  # type: ignore[attr-defined]
    _validate_callbacks_list(equipped)
    trainer.loggers = list(loggers)
    trainer._default_root_dir = str(folder)  # type: ignore[attr-defined]


def without_signal_handlers(trainer: Trainer) -> None:
    """Keep Lightning from installing its signal handlers.

    They message the other processes in the middle of whatever these are doing, and under Slurm they write a checkpoint
    of another kind there. Seen in lightning 2.6.6.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def without_step_counting(optimizers: Iterable[LightningOptimizer]) -> None:
    """Keep further optimizer steps of this batch from counting as global steps; Lightning counts anew with the next.

    Lightning counts every optimizer step as a global step. Seen in lightning 2.6.6.
    """
    for optimizer in optimizers:
        optimizer._on_before_step = optimizer._on_after_step = lambda: None
