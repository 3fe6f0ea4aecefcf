"""How many processor threads PyTorch and the compiled kernels use."""

from __future__ import annotations

import numba
import torch


def set_threads(threads: int | None) -> None:
    """Give PyTorch and numba's kernels so many threads; None: as many as PyTorch has, all cores or OMP_NUM_THREADS.

    Numba starts its threads with the first kernel and then sets OpenMP's number, which PyTorch reads, to all cores. So
    they are started here, before PyTorch is told its number.
    """
    chosen = torch.get_num_threads() if threads is None else threads
    available = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]  # fewer than cores in a container
    numba.set_num_threads(min(chosen, available))
    torch.set_num_threads(chosen)
