"""Cover: n agents on a grid must stand on n beacons, one each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mipi_pl.envs.composition import Composition
from mipi_pl.envs.stepped import SteppedEnv, View
from mipi_pl.spec import EntitySpec

SIDE = 6
MOVES = {"stay": (0, 0), "north": (0, 1), "south": (0, -1), "east": (1, 0), "west": (-1, 0)}


class Game:
    """Plays one episode at a time."""

    def __init__(self, team_sizes: Sequence[int], capacity: int) -> None:
        self.team_sizes, self.capacity = team_sizes, capacity

    def reset(self, composition: int, seed: int) -> View:
        """Place the agents and beacons of this team on different squares."""
        self.n = self.team_sizes[composition]
        squares = np.random.default_rng(seed).permutation(SIDE * SIDE)[: 2 * self.n]
        places = np.stack(np.divmod(squares, SIDE), axis=1)
        self.agents, self.beacons, self.covered = places[: self.n], places[self.n :], 0
        return self.view()

    def step(self, action: np.ndarray) -> View:
        """Move the agents; the reward is the change in the share of beacons that are covered."""
        self.agents = self.agents + np.array(list(MOVES.values()))[action[: self.n]]
        before, self.covered = self.covered, len({*map(tuple, self.agents)} & {*map(tuple, self.beacons)})
        return self.view((self.covered - before) / self.n)

    def view(self, reward: float = 0.0) -> View:
        """Return agents, then beacons, in units of the grid. A move off the grid is not available."""
        entities, present = np.zeros((2, self.capacity, 3)), np.arange(self.capacity) < self.n
        entities[0, : self.n] = np.insert(self.agents / SIDE, 0, 1.0, axis=1)
        entities[1, : self.n] = np.insert(self.beacons / SIDE, 0, 0.0, axis=1)
        mask, reached = np.ones((self.capacity, len(MOVES))), self.agents[:, None] + list(MOVES.values())
        mask[: self.n] = ((reached >= 0) & (reached < SIDE)).all(axis=-1)
        won = self.covered == self.n
        present = np.tile(present, 2)
        return View(entities.reshape(-1, 3), present, action_mask=mask, reward=reward, terminated=won, won=won)


class Cover(SteppedEnv):
    """The batched world. Its features x and y are drawn by `mipi watch`."""

    def __init__(self, team_sizes: Sequence[int], capacity: int, num_envs: int, seed: int = 0) -> None:
        names = {"feature_names": ("is_agent", "x", "y"), "action_names": tuple(MOVES)}
        spec = EntitySpec(capacity, 2 * capacity, n_features=3, n_actions=len(MOVES), max_steps=20, **names)
        teams = [Composition((("agent", n),)) for n in team_sizes]
        super().__init__(spec, teams, lambda: Game(team_sizes, capacity), num_envs, seed)
