"""The training loop, with a lock on the run folder and requests to stop that take effect between two updates."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from filelock import Timeout
from lightning import LightningDataModule, Trainer

from mipi_pl import distributed
from mipi_pl.roles import callbacks_of, having
from mipi_pl.run.lost_processes import losses_named
from mipi_pl.run.parts import Parts
from mipi_pl.storage import run_folder
from mipi_pl.storage.checkpoints import CheckpointFolder
from mipi_pl.storage.lock import lock
from mipi_pl.utils.compat import without_signal_handlers
from mipi_pl.utils.errors import (
    DivergedError,
    FailedError,
    TooManyFaultsError,
    UserError,
    WorkerError,
    WorldFaultError,
    is_reported,
)
from mipi_pl.utils.signals import STOP_SIGNALS


class Interrupted(KeyboardInterrupt):
    """The user stopped training; the message says how to go on."""


def fit(parts: Parts, folder: Path, checkpoint: Path | None, say: Callable[[str], None]) -> None:
    """Train to the end.

    Args:
        parts: objects of the run.
        folder: run folder.
        checkpoint: checkpoint to resume from; None starts a new run.
        say: function that prints messages to the user.

    Raises:
        Interrupted: if the user stopped training; a checkpoint is written, except after a second Ctrl-C.
        FailedError: if learning diverged, the world failed too often, or another process of the run or an environment
            worker is lost.
        UserError: if the checkpoint does not match the run.
    """
    with losses_named(folder), _stopping_between_updates(parts.trainer, say):
        try:
            data = cast(LightningDataModule, parts.datamodule)
            parts.trainer.fit(parts.algorithm, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except SystemExit as error:
            # On Ctrl-C, Lightning calls on_exception of the callbacks, which saves, and then exits with code 1.
            if not parts.trainer.interrupted:
                raise
            done = f"stopped after {parts.datamodule.frames:,} frames"
            if _is_saved(parts.trainer):
                raise Interrupted(f"{done}; resume with: mipi resume {run_folder.shown(folder)}") from error
            raise Interrupted(f"{done} without a checkpoint. {_what_is_left(folder)}") from error
        except DivergedError as error:
            raise FailedError(
                f"{error}. A resumed run would diverge again: start a new one with a lower learning rate "
                "(algorithm.policy_optimizer.lr, algorithm.critic_optimizer.lr) or algorithm.gradient_clip; "
                "algorithm.init_from=CHECKPOINT begins with the weights of an earlier checkpoint"
            ) from error
        except (WorkerError, WorldFaultError) as error:
            # The first process knows of a failure that is marked as reported.
            raise FailedError(
                f"{error}. {_what_is_left(folder)}", reported_by_any_process=not is_reported(error)
            ) from error
        except TooManyFaultsError as error:
            raise FailedError(
                f"{error}. A checkpoint was written; resume with: mipi resume {run_folder.shown(folder)}"
            ) from error
        except ValueError as error:
            if checkpoint is None or parts.state.started:
                raise
            raise UserError(f"{checkpoint}: {error}") from error
        finally:
            parts.datamodule.teardown("fit")  # Lightning calls this only after a run without errors


def _stoppable(trainer: Trainer) -> list[Any]:
    """Return the callbacks that end training between two updates, with a checkpoint, if they are asked to."""
    return having(callbacks_of(trainer), "stop_requested")


def _is_saved(trainer: Trainer) -> bool:
    """Return whether a run that the user stopped has written a checkpoint; after a second Ctrl-C it has not."""
    return any(callback.stop_requested and not callback.owed_files for callback in _stoppable(trainer))


def _what_is_left(folder: Path) -> str:
    """Return what a run that ended between two checkpoints has left, and how to go on from there."""
    if CheckpointFolder(folder).known():
        return f"Earlier checkpoints are intact; resume with: mipi resume {run_folder.shown(folder)}"
    return "No checkpoint was written yet, so the run cannot be resumed"


@contextmanager
def _stopping_between_updates(trainer: Trainer, say: Callable[[str], None]) -> Iterator[None]:
    """Defer SIGINT (Ctrl-C), SIGTERM and SIGHUP to the end of the current update, so that the checkpoint is exact.

    A second Ctrl-C stops at once. With several processes, a signal to any one of them stops all. SIGHUP, which a
    terminal sends when it is closed, stays ignored under nohup.
    """
    without_signal_handlers(trainer)
    checkpointing = _stoppable(trainer)
    before: dict[signal.Signals, Any] = {}

    def stop(number: int, _: Any) -> None:
        if checkpointing[0].stop_requested and number == signal.SIGINT:
            checkpointing[0].stop_requested = False  # mid-update: write no checkpoint, keep the last one
            raise KeyboardInterrupt
        checkpointing[0].stop_requested = True
        with suppress(RuntimeError):  # the signal has interrupted a print, and a stream cannot be entered twice
            say("\nstopping after this update; press Ctrl-C again to stop at once")

    if checkpointing and threading.current_thread() is threading.main_thread():  # other threads cannot set them
        for number in STOP_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock the run folder against other runs; the first process of this run holds the lock for all its processes.

    Raises:
        UserError: if another run holds the lock, or the folder cannot be written to.
    """
    holder = lock(folder)

    def acquire() -> None:
        try:
            if folder.is_dir() and not os.access(folder, os.W_OK):  # a lock file may already exist
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            holder.acquire()
        except Timeout as error:
            raise UserError(f"{folder} is in use: another process trains there") from error
        except OSError as error:
            raise UserError(f"cannot write to {folder} ({error.strerror})") from error

    distributed.on_first_rank(acquire)
    try:
        yield
    finally:
        if holder.is_locked:
            holder.release()
