"""A scripted world that fails now and then."""

from __future__ import annotations

import torch
from script_world import ScriptWorld
from torch import Tensor

from mipi_pl.envs.frame import Frame


class FaultyWorld(ScriptWorld):
    """Environment b plays episodes of six steps; every `every`-th of its episodes has a NaN feature in step `at`.

    With `every=0` it never fails.
    """

    def __init__(self, num_envs: int, seed: int = 0, every: int = 3, at: int = 2) -> None:
        self.every, self.at = every, at
        super().__init__([[6]] * num_envs, num_envs, seed)

    def advance(self, action: Tensor, frame: Frame) -> None:
        """One step; the third episode of each environment is the first that fails, for `every=3`."""
        super().advance(action, frame)
        if self.every:
            failing = ((self.episode + 1) % self.every == 0) & (self.step_ == self.at)
            frame.entities[failing, 0, 0] = torch.nan
