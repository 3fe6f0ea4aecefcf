"""What passes between a battle and those who play it, with the precision of the game."""

from __future__ import annotations

import numpy as np

from mipi_pl.envs.kernels.compiled import rule

_PARTS = 4096.0  # of a unit: the game's own numbers are fixed-point with 12 binary places


@rule
def told(value: float) -> float:
    """A position, health, shield, energy or timer as agents and rewards know it: rounded to a multiple of 1/4096.

    Such numbers below 4096 fit exactly into the single precision of the game's messages, so the simulator and the real
    game hand equal numbers to the functions that make features, masks and rewards of them. Inside, battles keep double
    precision.
    """
    return np.floor(value * _PARTS + 0.5) / _PARTS
