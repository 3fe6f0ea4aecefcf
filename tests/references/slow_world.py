"""An environment that waits like a real game, in its own module, so that worker processes can import it."""

from __future__ import annotations

import time

from script_world import ScriptWorld
from torch import Tensor

from mipi_pl.envs.frame import Frame

STEP_S = 0.03


class SlowWorld(ScriptWorld):
    """`ScriptWorld` of equal environments that are stepped one after the other, each taking its time."""

    def __init__(self, num_envs: int, seed: int = 0, step_s: float = STEP_S) -> None:
        self._step_s = step_s
        super().__init__([[3, 1, 4]] * num_envs, num_envs, seed)

    def advance(self, action: Tensor, frame: Frame) -> None:
        """One step of each."""
        time.sleep(self._step_s * self.num_envs)
        super().advance(action, frame)
