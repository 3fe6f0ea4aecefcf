"""Rounding of all observed values to the precision of the game's messages."""

from __future__ import annotations

import numpy as np

from mipi_pl.envs.kernels.compiled import rule

_STEPS_PER_UNIT = 4096.0  # the game's own numbers are fixed-point with 12 binary places


@rule
def rounded(value: float) -> float:
    """Round a position, health, shield, energy or timer to a multiple of 1/4096 for observations and rewards.

    Multiples below 4096 are exact in the single precision of the game's messages. The simulator and StarCraft II
    therefore pass equal numbers to the functions that compute features, masks and rewards. The simulation itself uses
    double precision.
    """
    return np.floor(value * _STEPS_PER_UNIT + 0.5) / _STEPS_PER_UNIT
