"""Number of processor threads of PyTorch and the compiled kernels."""

from __future__ import annotations

import numba
import torch

_numbers: dict[str, int] = {}
"""PyTorch's ``default`` number of threads, and the number ``chosen`` by the last call of `set_threads`."""


def set_threads(threads: int | None) -> None:
    """Set the number of threads of PyTorch and of numba's kernels.

    Numba starts its threads with the first kernel and then sets OpenMP's thread count, which PyTorch reads, to all
    cores. Its threads are therefore started here, before PyTorch's number is set.

    Args:
        threads: number of threads; None for PyTorch's default, OMP_NUM_THREADS or else all cores, also after a call
            with a number in the same process. Another number that the user has set in PyTorch since then counts as
            its default.
    """
    present = torch.get_num_threads()
    if present != _numbers.get("chosen"):
        _numbers["default"] = present
    chosen = _numbers["default"] if threads is None else threads
    available = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]  # fewer than cores in a container
    numba.set_num_threads(min(chosen, available))
    torch.set_num_threads(chosen)
    _numbers["chosen"] = chosen
