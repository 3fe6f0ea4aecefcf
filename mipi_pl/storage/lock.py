"""The lock on a run folder: one process, or the processes of one run, train there at a time."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout


def lock(run: Path) -> FileLock:
    """A lock on the run folder, for a `with` statement; it ends with the process, however that ends.

    Raises:
        filelock.Timeout: on entering, if another process holds it.
    """
    return FileLock(run / ".lock", timeout=0)


def in_use(run: Path) -> bool:
    """Whether a process holds the lock of a run folder; also False where the lock may not be tried."""
    if not (run / ".lock").exists():
        return False
    try:
        with lock(run):
            return False
    except Timeout:
        return True
    except OSError:
        return False
