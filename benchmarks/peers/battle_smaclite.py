"""SMAClite's side of the comparison of battles, from a checkout outside this repository.

PATH/bin/python benchmarks/peers/battle_smaclite.py rules --episodes 40     # PYTHONPATH: the checkout
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from battle_questions import MAPS, Order, Placed
from battle_side import main, timed
from smaclite.env import SMACliteEnv  # type: ignore[import-not-found]
from smaclite.env.maps.map import Group, MapInfo, MapPreset  # type: ignore[import-not-found]
from smaclite.env.terrain.terrain import TerrainPreset  # type: ignore[import-not-found]
from smaclite.env.units.unit_command import (  # type: ignore[import-not-found]
    AttackUnitCommand,
    MoveCommand,
    StopCommand,
)
from smaclite.env.units.unit_type import CombatType, StandardUnit  # type: ignore[import-not-found]
from smaclite.env.util.faction import Faction  # type: ignore[import-not-found]

PRESETS = {"2s3z": "MAP_2S3Z", "3s5z": "MAP_3S5Z", "MMM": "MAP_MMM", "10m_vs_11m": "MAP_10M_VS_11M"}
_FIRST_TARGET = 6


def flat_map(groups: list[Group]) -> MapInfo:
    """Returns an empty map with these groups, whose enemies walk to (9, 16)."""
    own = sum(n for group in groups for _, n in group.units if group.faction == Faction.ALLY)
    other = sum(n for group in groups for _, n in group.units) - own
    return MapInfo("flat", own, other, groups, (9, 16), TerrainPreset.ALL_GREEN.value, False, False)


def known_map(name: str) -> MapInfo:
    """Returns SMAClite's own map of this name, or builds the map of Marines that it lacks."""
    if name in PRESETS:
        return MapPreset[PRESETS[name]].map_info
    own, other, _ = MAPS[name]
    marine = StandardUnit.MARINE
    groups = [
        Group(9, 16, Faction.ALLY, [(marine, own["marine"])]),
        Group(23, 16, Faction.ENEMY, [(marine, other["marine"])]),
    ]
    return flat_map(groups)


class SMAClite:
    """SMAClite as a `battle_questions.Simulator`."""

    kinds: Sequence[str] = tuple(unit.name.lower() for unit in StandardUnit if unit.name != "SPINE_CRAWLER")
    maps: Sequence[str] = tuple(MAPS)
    loops_per_s = 16.0
    repeats = 1

    def begin(self, agents: Sequence[Placed], enemies: Sequence[Placed], scripted: bool) -> None:
        """See `battle_questions.Simulator`."""
        placed = [(Faction.ALLY, unit) for unit in agents] + [(Faction.ENEMY, unit) for unit in enemies]
        groups = [Group(x, y, side, [(StandardUnit[kind.upper()], 1)]) for side, (kind, x, y) in placed]
        self.env = SMACliteEnv(map_info=flat_map(groups), seed=0)
        self.env.reset()
        self.sides = (list(self.env.agents.values()), list(self.env.enemies.values()))
        if not scripted:
            for unit in self.sides[1]:
                unit.command = StopCommand()

    def move(self, agent: int, x: float, y: float) -> None:
        """See `battle_questions.Simulator`."""
        self.sides[0][agent].pos[:] = x, y
        for finder in (self.env.neighbour_finder_all, self.env.neighbour_finder_ally):
            finder.update()

    def hurt(self, agent: int, amount: float) -> bool:
        """See `battle_questions.Simulator`."""
        unit = self.sides[0][agent]
        absorbed = min(unit.shield, amount)
        unit.shield, unit.hp, unit.shield_cooldown = unit.shield - absorbed, unit.hp - (amount - absorbed), 10
        return bool(unit.max_shield > 0)

    def loop(self, orders: Mapping[int, Order]) -> None:
        """See `battle_questions.Simulator`."""
        for k, unit in enumerate(self.sides[0]):
            order, number = orders.get(k, ("stop", 0))
            target = self.sides[int(order == "attack")][number]
            if order == "east":
                unit.command = MoveCommand(unit.pos + np.array([2.0, 0.0]))
            elif order == "stop" or target.hp <= 0:
                unit.command = StopCommand()
            else:
                unit.command = AttackUnitCommand(target)
        self.env._SMACliteEnv__world_step()

    def life(self, side: int) -> list[float]:
        """See `battle_questions.Simulator`."""
        return [float(unit.hp + unit.shield) if unit.hp > 0 else 0.0 for unit in self.sides[side]]

    def place(self, agent: int) -> tuple[float, float]:
        """See `battle_questions.Simulator`."""
        return float(self.sides[0][agent].pos[0]), float(self.sides[0][agent].pos[1])

    def play(self, name: str, episodes: int) -> dict[str, float]:
        """See `battle_questions.Simulator`."""
        env, most = SMACliteEnv(map_info=known_map(name), seed=1), MAPS[name][2]
        won, lengths = 0, []
        for _ in range(episodes):
            env.reset()
            done, steps, info = False, 0, {}
            while not done and steps < most:
                _, _, done, _, info = env.step(attack_nearest(env))
                steps += 1
            won += bool(info["battle_won"])
            lengths.append(steps)
        return {"win_rate": won / episodes, "length": float(np.mean(lengths))}


def attack_nearest(env: Any) -> list[int]:
    """Returns the actions of this repository's scripted policy `attack_nearest`."""
    available, actions = env.get_avail_actions(), [0] * env.n_agents
    for k, unit in env.agents.items():
        healer = unit.combat_type == CombatType.HEALING
        others = [(i, u) for i, u in (env.agents if healer else env.enemies).items() if u is not unit]
        if healer:
            others = [(i, u) for i, u in others if u.hp < u.max_hp and u.combat_type != CombatType.HEALING] or others
        others.sort(
            key=lambda pair: (
                pair[1].hp / pair[1].max_hp if healer else (pair[1].combat_type == CombatType.HEALING),
                float(np.square(pair[1].pos - unit.pos).sum()),
            )
        )
        reachable = [i for i, u in others if available[k][_FIRST_TARGET + i] and (not healer or u.hp < u.max_hp)]
        if reachable:
            actions[k] = _FIRST_TARGET + reachable[0]
        elif others:
            dx, dy = others[0][1].pos - unit.pos
            way = (4 if dx > 0 else 5) if abs(dx) > abs(dy) else (2 if dy > 0 else 3)
            actions[k] = way if available[k][way] else 1
        else:
            actions[k] = 1
    return actions


def speed(environments: int, seconds: float) -> Callable[[], dict[str, float]]:
    """Returns a turn that measures 3s5z with random legal actions, in one environment."""
    del environments
    env, draw = SMACliteEnv(map_info=known_map("3s5z"), seed=0), random.Random(0)
    env.reset()

    def step() -> int:
        actions = [draw.choice(np.flatnonzero(row).tolist()) for row in env.get_avail_actions()]
        if env.step(actions)[2]:
            env.reset()
        return 1

    return lambda: timed(step, seconds)


if __name__ == "__main__":
    main(SMAClite, speed)
