"""Position of this process among those of a run, before they are connected."""

from __future__ import annotations

import multiprocessing
import os

_NUMBERS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
"""Variables with the number of a process that torchrun, Lightning or Slurm has started."""


def is_first_process() -> bool:
    """Return whether this is the first process of a run; processes that a run has started are not."""
    numbered = any(os.environ.get(name) not in (None, "", "0") for name in _NUMBERS)
    return not numbered and multiprocessing.parent_process() is None
