"""Random generator of one environment (splitmix64).

Each environment has its own generator, so its draws do not depend on other environments or on threads. The generator's
state is the unsigned integer field `random` of the environment's record.
"""

from __future__ import annotations

import numpy as np

from mipi_pl.envs.kernels.compiled import rule
from mipi_pl.envs.kernels.records import Record

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_UNIT = 1.0 / (1 << 53)


@rule
def uniform(world: Record) -> float:
    """Draw a number uniformly from [0, 1)."""
    z = world.random + _STEP
    world.random = z
    z = (z ^ (z >> _30)) * _MIX_1
    z = (z ^ (z >> _27)) * _MIX_2
    z = z ^ (z >> _31)
    return np.float64(z >> _11) * _UNIT


@rule
def below(world: Record, n: int) -> int:
    """Draw an integer uniformly from 0..n-1."""
    return min(int(uniform(world) * n), n - 1)
