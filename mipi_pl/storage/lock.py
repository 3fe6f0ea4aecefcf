"""A lock on a run folder, so that only one run at a time trains there.

The lock is on the file ``.lock``. The file stays in the folder after the run. If it were removed, one process could
lock the removed file and another process a new file of the same name.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path

from filelock import FileLock, Timeout

FILE = ".lock"
"""Name of the lock file in the run folder."""

_WAIT_S = 2.0
"""How long `lock` waits before it gives up. A momentary check by `in_use` must not make it fail."""


def lock(run: Path) -> FileLock:
    """Return a lock on a run folder, for use in a `with` statement.

    The lock is released when the process ends, even if it is killed.

    Raises:
        filelock.Timeout: on entering, if another process holds the lock and does not release it within two seconds.
    """
    return FileLock(run / FILE, timeout=_WAIT_S)


def in_use(run: Path) -> bool:
    """Return whether a process holds the lock of a run folder; False if the lock file cannot be opened or locked."""
    path = run / FILE
    try:
        return path.exists() and _is_locked(path)
    except OSError:
        return False


def _is_locked_alone(path: Path) -> bool:
    """Tests the lock by taking it for a moment."""
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
        """Tests with a shared lock, so that two processes that test at the same time do not block each other."""
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # PermissionError on some file systems
                return True
            except OSError as error:
                if error.errno != errno.ENOSYS:
                    raise
                return _is_locked_alone(path)  # a file system without locks: FileLock checks whether the file exists
        return False
