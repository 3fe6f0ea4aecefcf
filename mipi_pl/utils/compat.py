"""All uses of private names of libraries, each with the library version it was last checked with.

New versions of these libraries may rename them, so look here first if an upgrade fails. One use is elsewhere:
`models/kernels` builds on numba's intrinsics (`numba.extending`, `numba.core.cgutils`, `numba.np.arrayobj`; 0.68) and
has its own tests.
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


def equip(trainer: Trainer, callbacks: Sequence[Callback], loggers: Sequence[Logger], folder: Path) -> None:
    """Set the callbacks, loggers and root folder of an existing Trainer, as its constructor would.

    They depend on the run folder, which is known only after the Trainer has started and connected the processes of the
    run. Checked with lightning 2.6.6.

    Args:
        trainer: Trainer to change.
        callbacks: callbacks to run before the Trainer's default ones; a progress bar replaces the default one.
        loggers: loggers to use.
        folder: default root folder.

    Raises:
        RuntimeError: if two callbacks have the same state key.
    """
    defaults: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if any(isinstance(callback, ProgressBar) for callback in callbacks):
        defaults = [callback for callback in defaults if not isinstance(callback, ProgressBar)]
    trainer.callbacks = equipped = [*callbacks, *defaults]  # type: ignore[attr-defined]
    _validate_callbacks_list(equipped)
    trainer.loggers = list(loggers)
    trainer._default_root_dir = str(folder)  # type: ignore[attr-defined]


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
