"""Memory of the machine, and refusal of what cannot fit into it before it is made."""

from __future__ import annotations

import math
import os
import shutil
from contextlib import suppress
from pathlib import Path

from mipi_pl.utils.errors import FailedError, first_line

_HUGE = 1e17
_SHORTAGES = ("allocate memory", "out of memory")
"""Parts of PyTorch's messages."""
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Memory limit of a container, in version 2 and 1 of Linux control groups."""


class ShortageError(FailedError):
    """Memory was used up, at a place that no estimate covers.

    Args:
        error: exception of Python, NumPy or PyTorch.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(
            f"memory was used up ({first_line(error)}), and this machine has {readable_size(memory_bytes())}: lower "
            "the sizes of batches, networks, worlds or evaluations; a run that was training can be resumed from its "
            "last checkpoint",
            reported_by_any_process=True,
        )


def memory_bytes() -> int:
    """Return the memory that this process may use: that of the machine, or a lower limit set for it."""
    return int(min(_shared_bytes(), _own_bytes()))


def _shared_bytes() -> int:
    """Return the memory that the processes of this machine may use together."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _CGROUPS:
        with suppress(OSError, ValueError):  # ValueError: "max", which is no limit
            limits.append(int(Path(file).read_text(encoding="ascii")))
    return min(limits)


def _own_bytes() -> float:
    """Return the limit that is set for this process alone, infinity if there is none."""
    with suppress(ImportError):  # not on Windows
        import resource

        if (limit := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
            return limit
    return math.inf


def require_memory(name: str, size: float, advice: str, processes: int = 1) -> None:
    """Check that an object fits into the memory of this machine, before it is made.

    Args:
        name: what needs the memory, for the message.
        size: estimate of its size in bytes.
        advice: what the user can change.
        processes: number of processes of this machine that make one each.

    Raises:
        ValueError: if it does not fit; the message gives the estimate and the memory of the machine.

    Examples:
        >>> require_memory("a replay of 1000 episodes", 1e6, "lower datamodule.capacity")
    """
    if size > _own_bytes() or size * processes > _shared_bytes():
        has = f"this machine has {readable_size(memory_bytes())}"
        raise ValueError(f"{name} would take {_estimated(size)} of memory{_in_each(processes)}, and {has}; {advice}")


def require_disk(name: str, size: float, folder: str, advice: str, processes: int = 1) -> None:
    """Check that files fit onto the disk of a folder, before they are made.

    Args:
        name: what needs the disk, for the message.
        size: estimate of its size in bytes.
        folder: the folder, which exists.
        advice: what the user can change.
        processes: number of processes of this machine that make them, each its own.

    Raises:
        ValueError: if it does not fit; the message gives the estimate and the free space of the disk.
    """
    free = shutil.disk_usage(folder).free
    if size * processes > free:
        has = f"the disk of {folder} has {readable_size(free)} free"
        raise ValueError(
            f"{name} would take {_estimated(size)} of disk space{_in_each(processes)}, and {has}; {advice}"
        )


def _estimated(size: float) -> str:
    return f"about {readable_size(size)}" if size < _HUGE else f"more than {readable_size(_HUGE)}"


def _in_each(processes: int) -> str:
    return f" in each of {processes:,} processes" if processes > 1 else ""


def is_shortage(error: BaseException) -> bool:
    """Return whether an exception of Python, NumPy or PyTorch says that memory was used up.

    Examples:
        >>> is_shortage(MemoryError()), is_shortage(RuntimeError("shapes do not match"))
        (True, False)
    """
    return isinstance(error, MemoryError) or any(words in str(error) for words in _SHORTAGES)


def readable_size(size: float) -> str:
    """Format a number of bytes.

    Examples:
        >>> readable_size(1_500_000_000)
        '1.5 GB'
    """
    power = min(max(int(math.log10(max(size, 1)) // 3), 0), 5)
    unit = ("bytes", "kB", "MB", "GB", "TB", "PB")[power]
    return f"{size / 1000**power:.3g} {unit}"
