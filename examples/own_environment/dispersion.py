"""Dispersion, a scenario of VMAS (through TorchRL), as an entity world: n agents spread over n pieces of food."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torchrl.envs import VmasEnv

from mipi_pl.envs.composition import Composition
from mipi_pl.envs.stepped import SteppedEnv, View
from mipi_pl.spec import EntitySpec


class Game:
    """Plays one episode at a time, with one VMAS environment per team size."""

    def __init__(self, team_sizes: Sequence[int], capacity: int) -> None:
        self.capacity = capacity
        with torch.random.fork_rng():  # VMAS seeds PyTorch's global generator, which training uses too
            options = {"scenario": "dispersion", "num_envs": 1, "continuous_actions": False}
            self.envs = [VmasEnv(**options, n_agents=n, n_food=n) for n in team_sizes]

    def reset(self, composition: int, seed: int) -> View:
        """Start an episode of the team size with this index."""
        self.env = self.envs[composition]
        with torch.random.fork_rng():
            self.env.set_seed(seed)
            self.td = self.env.reset()
        return self.view()

    def step(self, action: np.ndarray) -> View:
        """Play one step."""
        self.td["agents", "action"] = torch.from_numpy(action[None, : len(self.env.agents)].copy())
        self.td = self.env.step(self.td)["next"]
        return self.view(float(self.td["agents", "reward"].mean()), bool(self.td["terminated"]))

    def view(self, reward: float = 0.0, terminated: bool = False) -> View:
        """Return agents, then food: agent number (all start at one position), position, velocity, whether eaten."""
        # An agent observes its position, its velocity, and per food the relative position and whether it is eaten.
        rows = self.td["agents", "observation"][0].numpy()
        n, food = len(rows), rows[0, 4:].reshape(-1, 3) + np.append(rows[0, :2], 0.0)
        entities = np.zeros((2 * self.capacity, 6), dtype=np.float32)
        entities[:n, 0], entities[:n, 1:5] = np.arange(1, n + 1) / self.capacity, rows[:, :4]
        entities[self.capacity : self.capacity + n, [1, 2, 5]] = food
        present = np.arange(2 * self.capacity) % self.capacity < n
        return View(entities, present, reward=reward, terminated=terminated)


class Dispersion(SteppedEnv):
    """Dispersion with teams of varying size. It cannot be won; the reward is the mean over the agents."""

    winnable = False

    def __init__(self, team_sizes: Sequence[int], capacity: int, num_envs: int, seed: int = 0) -> None:
        names = ("number", "x", "y", "vx", "vy", "eaten")
        spec = EntitySpec(capacity, 2 * capacity, n_features=6, n_actions=9, max_steps=50, feature_names=names)
        teams = [Composition((("agent", n),)) for n in team_sizes]
        super().__init__(spec, teams, lambda: Game(team_sizes, capacity), num_envs, seed)
