"""Training itself: nobody else in the run folder, and an end between two updates when one is asked for."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from filelock import Timeout
from lightning import LightningDataModule, Trainer

from mipi_pl import distributed
from mipi_pl.run.build import Parts
from mipi_pl.storage import run_folder
from mipi_pl.storage.lock import lock
from mipi_pl.utils.checks import DivergedError, WorkerError
from mipi_pl.utils.compat import without_signal_handlers
from mipi_pl.utils.errors import FailedError, UserError


class Interrupted(KeyboardInterrupt):
    """Training was stopped by the user; what had been learned is in the checkpoint."""


def fit(parts: Parts, folder: Path, checkpoint: Path | None, say: Callable[[str], None]) -> None:
    """Train to the end.

    Args:
        parts: of the run.
        folder: of the run.
        checkpoint: to go on from; None begins.
        say: what the user is told goes here.

    Raises:
        Interrupted: if the user asked for an end; a checkpoint is written.
        FailedError: if learning diverged, or another process of the run, or one that steps environments, is gone.
        UserError: if the checkpoint does not fit.
    """
    with _stopping_between_updates(parts.trainer, say):
        try:
            data = cast(LightningDataModule, parts.datamodule)
            parts.trainer.fit(parts.algorithm, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except SystemExit as error:
            # Lightning answers Ctrl-C with its callbacks' on_exception, which saves, and then with exit code 1.
            if not parts.trainer.interrupted:
                raise
            raise Interrupted(
                f"stopped after {parts.datamodule.frames:,} frames; go on with: mipi resume {run_folder.shown(folder)}"
            ) from error
        except DivergedError as error:
            raise FailedError(
                f"{error}. The checkpoints before it are whole; a lower learning rate "
                "(algorithm.critic_optimizer.lr, ..) or algorithm.gradient_clip may help"
            ) from error
        except WorkerError as error:
            raise FailedError(
                f"{error}. The checkpoints before it are whole; go on with: mipi resume {run_folder.shown(folder)}"
            ) from error
        except RuntimeError as error:
            if not distributed.is_lost(error):
                raise
            raise FailedError(
                "another process of this run has ended, for a reason that it tells itself; go on from the last "
                f"checkpoint with: mipi resume {run_folder.shown(folder)}"
            ) from error
        except ValueError as error:
            if checkpoint is None or parts.state.started:
                raise
            raise UserError(f"{checkpoint}: {error}") from error
        finally:
            parts.datamodule.teardown("fit")  # Lightning does so only where nothing went wrong


@contextmanager
def _stopping_between_updates(trainer: Trainer, say: Callable[[str], None]) -> Iterator[None]:
    """Let Ctrl-C and a request to terminate wait for the end of the update, so that the checkpoint is exact.

    A second Ctrl-C stops at once. Of several processes, one that is asked is enough.
    """
    without_signal_handlers(trainer)
    found: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    checkpointing = [callback for callback in found if hasattr(callback, "stop_requested")]
    before: dict[signal.Signals, Any] = {}

    def stop(number: int, _: Any) -> None:
        if checkpointing[0].stop_requested and number == signal.SIGINT:
            checkpointing[0].stop_requested = False  # in the middle of an update: no checkpoint, the last one stays
            raise KeyboardInterrupt
        checkpointing[0].stop_requested = True
        say("\nstopping after this update; press Ctrl-C again to stop at once")

    if checkpointing and threading.current_thread() is threading.main_thread():  # others may not set handlers
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other runs off the folder; the processes of one run share it, the first holds it.

    Raises:
        UserError: if another process holds it, or the folder cannot be written to.
    """
    holder = lock(folder)

    def acquire() -> None:
        try:
            if folder.is_dir() and not os.access(folder, os.W_OK):  # an earlier run may have left the file of the lock
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            holder.acquire()
        except Timeout as error:
            raise UserError(f"{folder} is in use: another process trains there") from error
        except OSError as error:
            raise UserError(f"cannot write to {folder} ({error.strerror})") from error

    distributed.by_first(acquire)
    try:
        yield
    finally:
        if holder.is_locked:
            holder.release()
