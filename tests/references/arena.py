"""A single battle in which a test places the units and plays loop by loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase

from mipi_pl import spec as keys
from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.envs.battle.snapshot import UnitView
from mipi_pl.envs.kernels.records import Record

Placed = tuple[str, float, float]


class Arena:
    """`agents` and `enemies` are the placed units' records, in the order given; tags are slots.

    Enemies do not fire and do not walk unless they are released.
    """

    def __init__(
        self, agents: Sequence[Placed], enemies: Sequence[Placed], loops_per_step: int = 1, **more: Any
    ) -> None:
        counts = Counter(name for name, _, _ in agents) | Counter(name for name, _, _ in enemies)
        capacity = sum(counts.values())
        self.env = BattleEnv(
            groups=[{"types": [name], "min": n, "max": n} for name, n in counts.items()],
            team_sizes=[capacity],
            capacity=capacity,
            num_envs=1,
            loops_per_step=loops_per_step,
            random_tags=False,
            episode_limit=10_000,
            parallel=False,
            **more,
        )
        self.td: TensorDictBase = self.env.reset()
        self.agents = [self._place(unit, 0) for unit in agents]
        self.enemies = [self._place(unit, capacity) for unit in enemies]
        self._clear()
        for enemy in self.enemies:
            enemy.cooldown, enemy.speed = 1e9, 0.0

    def _place(self, placed: Placed, first: int) -> Record:
        name, x, y = placed
        names = [u.name for u in self.env.scenario.types]
        for i in range(first, first + self.env.scenario.capacity):
            unit = self.env.units[0, i]
            if names[unit.kind] == name and unit.peace >= 0:
                unit.x, unit.y, unit.peace = x, y, -1
                return unit
        raise LookupError(name)

    def _clear(self) -> None:
        """Empty the slots of units nobody asked for."""
        for i, unit in enumerate(self.env.units[0]):
            if unit.peace >= 0:
                unit.kind, unit.alive, self.env.units[0, i].slot_of_tag = -1, 0, -1
                unit.vitality = 0.0
            unit.peace = 1 << 30

    def attack(self, enemy: int) -> int:
        """The action that attacks the enemy placed as number `enemy`."""
        return self.env.layout.attack(int(self.enemies[enemy].tag))

    def heal(self, agent: int) -> int:
        """The action that heals the agent placed as number `agent`."""
        return self.env.layout.heal(int(self.agents[agent].tag))

    def seen(self, slot: int) -> UnitView:
        """The unit of a slot in a snapshot."""
        return next(unit for unit in self.env.snapshot(0).units if unit.slot == slot)

    def play(self, actions: dict[int, int] | None = None, steps: int = 1) -> TensorDictBase:
        """Agents placed as number k play actions[k] (others stop) as long as they live; what the last step returned."""
        for _ in range(steps):
            action = torch.zeros(1, self.env.entity_spec.n_agents, dtype=torch.int64)
            for k, unit in enumerate(self.agents):
                if unit.alive:
                    action[0, unit.tag] = (actions or {}).get(k, 1)
            self.td = self.env.step(TensorDict({keys.ACTION: action}, batch_size=[1]))["next"]
        return self.td
