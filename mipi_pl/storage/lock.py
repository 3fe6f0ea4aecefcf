"""The lock on a run folder: one process, or the processes of one run, train there at a time.

The lock is on the file ``.lock``. It stays in the folder when the run has ended: if it were removed, one process could
lock the removed file and another one a new file of the same name.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path

from filelock import FileLock, Timeout

FILE = ".lock"
"""Name of the file in the run folder."""

_WAIT_S = 2.0
"""How long `lock` waits before it gives up. `in_use` takes the lock for a moment, for which no run must be refused."""


def lock(run: Path) -> FileLock:
    """A lock on the run folder, for a `with` statement; it ends with the process, however that ends.

    Raises:
        filelock.Timeout: on entering, if another process holds it and does not let go within two seconds.
    """
    return FileLock(run / FILE, timeout=_WAIT_S)


def in_use(run: Path) -> bool:
    """Whether a process holds the lock of a run folder; also False where the lock may not be tried."""
    path = run / FILE
    try:
        return path.exists() and _is_locked(path)
    except OSError:
        return False


def _is_locked_alone(path: Path) -> bool:
    """Takes the lock for a moment."""
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


if sys.platform == "win32":
    _is_locked = _is_locked_alone
else:
    import fcntl

    def _is_locked(path: Path) -> bool:
        """Takes a shared lock for a moment, so that two processes that look do not see each other."""
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # the second on some file systems
                return True
            except OSError as error:
                if error.errno != errno.ENOSYS:
                    raise
                return _is_locked_alone(path)  # a file system without locks, where FileLock goes by the file itself
        return False
