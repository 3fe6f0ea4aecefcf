"""An environment with scripted episode lengths and counting observations, so that every number is known in advance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.composition import Composition
from mipi_pl.envs.frame import Frame
from mipi_pl.spec import EntitySpec


class ScriptWorld(EntityEnv):
    """Environment b plays episodes of ``lengths[b]``, over and over.

    Entity j of environment b shows (b, episode, step, j). The reward of a step is 100 b + 10 episode + step, and a
    thousandth of the sum of the actions. Odd episodes are won and terminate, even ones are truncated. Agent 1 of 2 dies
    after two steps; the last entity slot is empty in environment 0.
    """

    def __init__(self, lengths: Sequence[Sequence[int]], num_envs: int, seed: int = 0, max_steps: int = 6) -> None:
        self.lengths = [list(row) for row in lengths]
        spec = EntitySpec(n_agents=2, n_entities=4, n_features=4, n_actions=3, max_steps=max_steps)
        self.episode = torch.full((num_envs,), -1)
        self.step_ = torch.zeros(num_envs, dtype=torch.int64)
        super().__init__(spec, [Composition((("x", 2),)), Composition((("y", 2),))], num_envs, seed)

    def seed_rows(self, seeds: np.ndarray) -> None:
        """Nothing is drawn."""

    def memory(self) -> dict[str, Tensor]:
        """Where each row is in its script."""
        return {"episode": self.episode.clone(), "step": self.step_.clone()}

    def remember(self, memory: dict[str, Tensor]) -> None:
        """Go on from there."""
        self.episode, self.step_ = memory["episode"].clone(), memory["step"].clone()

    def begin(self, rows: Tensor, frame: Frame) -> None:
        """The next episode of each row."""
        self.episode[rows] += 1
        self.step_[rows] = 0
        self._observe(frame)

    def advance(self, action: Tensor, frame: Frame) -> None:
        """One step further."""
        b = torch.arange(self.num_envs)
        frame.reward.copy_(100.0 * b + 10.0 * self.episode + self.step_ + action.sum(dim=1) / 1000)
        self.step_ += 1
        over = torch.tensor(
            [
                int(step) == row[int(episode) % len(row)]
                for row, episode, step in zip(self.lengths, self.episode, self.step_, strict=True)
            ]
        )
        odd = self.episode % 2 == 1
        frame.terminated.copy_(over & odd)
        frame.truncated.copy_(over & ~odd)
        frame.won.copy_(over & odd)
        self._observe(frame)

    def _observe(self, frame: Frame) -> None:
        b = torch.arange(self.num_envs)
        frame.composition.copy_(self.episode % 2)
        frame.present.fill_(True)
        frame.present[0, 3] = False
        for j in range(4):
            frame.entities[:, j] = torch.stack((b, self.episode, self.step_, torch.full_like(b, j)), dim=1).float()
        frame.entities[0, 3] = 0.0
        frame.visible.copy_(frame.present.unsqueeze(1))
        frame.action_mask.fill_(True)
        dead = self.step_ >= 2
        frame.visible[dead, 1] = False
        frame.action_mask[dead, 1] = torch.tensor([True, False, False])


class RaggedWorld(ScriptWorld):
    """Lengths that differ from seed to seed, so that no two processes have the same number of episodes."""

    def __init__(self, num_envs: int, seed: int = 0, longest: int = 6) -> None:
        self.longest = longest
        super().__init__([], num_envs, seed, max_steps=longest)

    def seed_rows(self, seeds: np.ndarray) -> None:
        """Seven lengths for each row."""
        drawn = [np.random.default_rng(int(seed)).integers(1, self.longest + 1, 7) for seed in seeds]
        self.lengths = [[int(length) for length in row] for row in drawn]


class LeavingWorld(ScriptWorld):
    """Agent 1 does not die; its slot is empty in some steps of each episode.

    Args:
        away: steps of an episode in which it is.
        lengths: of the episodes of each environment.
        num_envs: number of environments.
        seed: not used.
    """

    def __init__(self, away: range, lengths: Sequence[Sequence[int]], num_envs: int, seed: int = 0) -> None:
        self.away = away
        super().__init__(lengths, num_envs, seed, max_steps=12)

    def _observe(self, frame: Frame) -> None:
        super()._observe(frame)
        there = torch.tensor([int(step) not in self.away for step in self.step_])
        frame.present[:, 1] = there
        frame.entities[~there, 1] = 0.0
        frame.visible.copy_(frame.present.unsqueeze(1))
        frame.visible[~there, 1] = False
        frame.action_mask[:, 1] = there.unsqueeze(-1) | torch.tensor([True, False, False])
