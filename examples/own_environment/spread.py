"""Simple Spread of PettingZoo (package mpe2) as an entity world: n agents cover n landmarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mpe2 import simple_spread_v3

from mipi_pl.envs.composition import Composition
from mipi_pl.envs.stepped import SteppedEnv, View
from mipi_pl.spec import EntitySpec


class Game:
    """Plays one episode at a time, with one PettingZoo environment per team size."""

    def __init__(self, team_sizes: Sequence[int], capacity: int, max_steps: int) -> None:
        self.capacity = capacity
        self.envs = [simple_spread_v3.parallel_env(N=n, max_cycles=max_steps) for n in team_sizes]

    def reset(self, composition: int, seed: int) -> View:
        """Start an episode of the team size with this index."""
        self.env = self.envs[composition]
        return self.view(self.env.reset(seed=seed)[0])

    def step(self, action: np.ndarray) -> View:
        """Play one step."""
        actions = {name: int(action[i]) for i, name in enumerate(self.env.agents)}
        observations, reward, _, truncated, _ = self.env.step(actions)
        return self.view(observations, reward=sum(reward.values()) / len(reward), truncated=any(truncated.values()))

    def view(self, observations: dict[str, np.ndarray], reward: float = 0.0, truncated: bool = False) -> View:
        """Return agents, then landmarks as entities with the features: is an agent, position, velocity."""
        rows = np.stack(list(observations.values()))  # own velocity, own position, relative positions of landmarks, ...
        n, velocity, position = len(rows), rows[:, :2], rows[:, 2:4]
        landmarks = rows[0, 4 : 4 + 2 * n].reshape(n, 2) + position[0]
        entities = np.zeros((2 * self.capacity, 5), dtype=np.float32)
        entities[:n] = np.concatenate([np.ones((n, 1)), position, velocity], axis=1)
        entities[self.capacity : self.capacity + n, 1:3] = landmarks
        present = np.arange(2 * self.capacity) % self.capacity < n
        return View(entities, present, reward=reward, truncated=truncated)


class Spread(SteppedEnv):
    """Simple Spread with teams of varying size. It cannot be won; the reward is the mean over the agents."""

    winnable = False

    def __init__(
        self, team_sizes: Sequence[int], capacity: int, num_envs: int, seed: int = 0, max_steps: int = 25
    ) -> None:
        spec = EntitySpec(capacity, 2 * capacity, n_features=5, n_actions=5, max_steps=max_steps)
        teams = [Composition((("agent", n),)) for n in team_sizes]
        super().__init__(spec, teams, lambda: Game(team_sizes, capacity, max_steps), num_envs, seed)
