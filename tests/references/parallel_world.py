"""A parallel environment with the API of PettingZoo, whose agents die and appear, and a world of it."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from mipi_pl.envs.pettingzoo import ParallelWorld


class Crowd:
    """Agents 0 to n-1 begin; the last one dies in step 2, a new one appears in step 3, step 6 truncates all.

    An agent observes, as a dict, its place and the sum of all actions so far, and may not repeat its last action. It
    sees a stone, and the agents whose number differs by one.
    """

    def __init__(self, size: int, limit: int = 6) -> None:
        self.size, self.limit, self.closed = size, limit, 0
        self.sent: list[dict[str, int]] = []

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.t, self.total, self.drawn = 0, 0, float(np.random.default_rng(seed).integers(1, 100))
        self.agents = [f"agent_{i}" for i in range(self.size)]
        self.last: dict[str, int] = {}
        return {agent: self.observe(agent) for agent in self.agents}, {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        assert set(actions) == set(self.agents)
        self.sent.append(actions)
        self.t, self.total, self.last = self.t + 1, self.total + sum(actions.values()), actions
        acted = list(self.agents)
        rewards: dict[str, Any] = {agent: np.array([float(actions[agent])]) for agent in acted}
        over = self.t == self.limit
        terminations: dict[str, Any] = dict.fromkeys(acted, np.False_)
        if self.t == 2:
            terminations[acted[-1]] = np.True_
            self.agents = acted[:-1]
        if self.t == 3:
            self.agents = [*self.agents, "newcomer"]
        seen = {agent: self.observe(agent) for agent in {*acted, *self.agents}}
        if over:
            self.agents = []
        return seen, rewards, terminations, dict.fromkeys(acted, over), {agent: {} for agent in acted}

    def observe(self, agent: str) -> dict[str, Any]:
        number = int(agent.removeprefix("agent_")) if agent != "newcomer" else self.size
        mask = np.ones(3, dtype=np.int8)
        if agent in self.last:
            mask[self.last[agent]] = 0
        near = [name for name in self.agents if name != "newcomer" and abs(int(name[6:]) - number) == 1]
        return {"place": number, "facts": [self.drawn, self.total], "near": near, "action_mask": mask}

    def action_space(self, agent: str) -> Any:
        return SimpleNamespace(n=3)

    def close(self) -> None:
        self.closed += 1


def entities(agent: str, observation: dict[str, Any]) -> dict[str, Any]:
    """Return agent, neighbours and the stone: x, y (the sum of actions)."""
    others = {name: [float(name[6:]), -1.0] for name in observation["near"]}
    return {agent: [observation["place"], observation["facts"][1]], "stone": [50.0, 50.0], **others}


def crowd(team_sizes: Sequence[int] = (2, 3), num_envs: int = 3, seed: int = 0, **changes: Any) -> ParallelWorld:
    """Return a world of crowds."""
    settings: dict[str, Any] = {
        "make": Crowd,
        "observe": entities,
        "capacity": 4,
        "n_features": 2,
        "n_actions": 3,
        "max_steps": 6,
        "n_others": 1,
        "feature_names": ("x", "y"),
    }
    return ParallelWorld(**{**settings, **changes}, team_sizes=team_sizes, num_envs=num_envs, seed=seed)
