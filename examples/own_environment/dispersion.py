"""Dispersion of VMAS, by TorchRL, as an entity world: agents spread over as much food as there are agents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torchrl.envs import VmasEnv

from mipi_pl.envs.composition import Composition
from mipi_pl.envs.stepped import SteppedEnv, View
from mipi_pl.spec import EntitySpec


class Game:
    """One episode at a time; an environment of VMAS for each team size."""

    def __init__(self, team_sizes: Sequence[int], capacity: int) -> None:
        self.capacity = capacity
        with torch.random.fork_rng():  # VMAS seeds PyTorch's own generator, which belongs to learning
            how = {"scenario": "dispersion", "num_envs": 1, "continuous_actions": False}
            self.of_size = [VmasEnv(**how, n_agents=n, n_food=n) for n in team_sizes]

    def reset(self, composition: int, seed: int) -> View:
        """Begin."""
        self.env = self.of_size[composition]
        with torch.random.fork_rng():
            self.env.set_seed(seed)
            self.shown = self.env.reset()
        return self.view()

    def step(self, action: np.ndarray) -> View:
        """Play."""
        self.shown["agents", "action"] = torch.from_numpy(action[None, : len(self.env.agents)].copy())
        self.shown = self.env.step(self.shown)["next"]
        return self.view(float(self.shown["agents", "reward"].mean()), bool(self.shown["terminated"]))

    def view(self, reward: float = 0.0, terminated: bool = False) -> View:
        """Agents first, then food: which agent (they start in one place), place, velocity, is it eaten."""
        # VMAS shows each agent its place, its velocity, and where each food is from there and whether it is eaten.
        rows = self.shown["agents", "observation"][0].numpy()
        n, food = len(rows), rows[0, 4:].reshape(-1, 3) + np.append(rows[0, :2], 0.0)
        entities = np.zeros((2 * self.capacity, 6), dtype=np.float32)
        entities[:n, 0], entities[:n, 1:5] = np.arange(1, n + 1) / self.capacity, rows[:, :4]
        entities[self.capacity : self.capacity + n, [1, 2, 5]] = food
        present = np.arange(2 * self.capacity) % self.capacity < n
        return View(entities, present, reward=reward, terminated=terminated)


class Dispersion(SteppedEnv):
    """Dispersion with teams of changing size. Nothing is won; the reward is the mean over the agents."""

    winnable = False

    def __init__(self, team_sizes: Sequence[int], capacity: int, num_envs: int, seed: int = 0) -> None:
        spec = EntitySpec(capacity, 2 * capacity, n_features=6, n_actions=9, max_steps=50)
        teams = [Composition((("agent", n),)) for n in team_sizes]
        super().__init__(spec, teams, lambda: Game(team_sizes, capacity), num_envs, seed)
