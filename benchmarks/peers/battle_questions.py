"""Measurements of the rules that run on every battle simulator, and the maps of the scripted policy.

A `Simulator` is one battle with units placed by hand, played game loop by game loop. Agents follow their orders and
otherwise stand still. Enemies stand still unless they follow their script. This module needs no library, because each
simulator runs in its own Python environment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any, Protocol

Placed = tuple[str, float, float]
Order = tuple[str, int]
"""("attack", enemy), ("heal", agent) or ("east", 0)."""

KINDS = ("marine", "marauder", "medivac", "stalker", "zealot", "colossus", "zergling", "hydralisk", "baneling")
RADIUS = dict(zip(KINDS, (0.375, 0.5625, 0.75, 0.625, 0.5, 1.0, 0.375, 0.625, 0.375), strict=True))
MAPS: dict[str, tuple[dict[str, int], dict[str, int], int]] = {
    "3m": ({"marine": 3}, {"marine": 3}, 60),
    "8m": ({"marine": 8}, {"marine": 8}, 120),
    "2s3z": ({"stalker": 2, "zealot": 3}, {"stalker": 2, "zealot": 3}, 120),
    "3s5z": ({"stalker": 3, "zealot": 5}, {"stalker": 3, "zealot": 5}, 150),
    "MMM": ({"marine": 7, "marauder": 2, "medivac": 1}, {"marine": 7, "marauder": 2, "medivac": 1}, 150),
    "10m_vs_11m": ({"marine": 10}, {"marine": 11}, 150),
}
"""Agents, enemies and time limit (in steps of 8 game loops) of each map."""
_FAR = 20.0 * 60


class Simulator(Protocol):
    """A battle simulator, one side of the comparison.

    Attributes:
        kinds: unit types that it has, of `KINDS`.
        maps: maps that it can play, of `MAPS`.
        loops_per_s: game loops per second of its clock.
        repeats: how often to repeat a fight; above 1 if its duration is random.
    """

    kinds: Sequence[str]
    maps: Sequence[str]
    loops_per_s: float
    repeats: int

    def begin(self, agents: Sequence[Placed], enemies: Sequence[Placed], scripted: bool) -> None:
        """Place units on a flat map of 32 x 32. With `scripted` the enemies' script walks to (9, 16)."""

    def move(self, agent: int, x: float, y: float) -> None:
        """Move an agent to a position at once."""

    def loop(self, orders: Mapping[int, Order]) -> None:
        """Play one game loop."""

    def life(self, side: int) -> list[float]:
        """Returns health plus shield of each placed unit of a side (0: agents), 0 for dead units."""

    def place(self, agent: int) -> tuple[float, float]:
        """Returns the position of an agent."""

    def hurt(self, agent: int, amount: float) -> bool:
        """Take this much life from an agent, shield first; returns whether it has a shield."""

    def play(self, name: str, episodes: int) -> dict[str, float]:
        """Returns win rate and mean length in steps of `attack_nearest` on a map, against the simulator's enemies."""


def ask(world: Simulator, episodes: int) -> dict[str, Any]:
    """Run all measurements on a simulator; `episodes` battles per map."""
    kinds = [kind for kind in KINDS if kind in world.kinds]
    results: dict[str, Any] = {
        "loops_per_s": world.loops_per_s,
        "walk_per_s": {kind: walking_speed(world, kind) for kind in kinds},
        "kill_s": {
            attacker: {victim: time_to_kill_s(world, attacker, victim) for victim in kinds}
            for attacker in kinds
            if attacker != "medivac"
        },
        "heal_per_s": healing(world) if "medivac" in kinds else None,
        "shield_per_s": shield_return(world),
        "splash": {kind: splash(world, kind) for kind in ("colossus", "baneling") if kind in kinds},
        "retarget": retargeting(world),
        "maps": {name: world.play(name, episodes) for name in MAPS if name in world.maps},
    }
    return results


def walking_speed(world: Simulator, kind: str) -> float:
    """Returns the walking speed in map units per second of the simulator's clock, without the first loop."""
    world.begin([(kind, 8.0, 16.0)], [("marine", 28.0, 28.0)], scripted=False)
    world.loop({0: ("east", 0)})
    start = world.place(0)
    for _ in range(4):
        world.loop({0: ("east", 0)})
    return math.dist(start, world.place(0)) / 4 * world.loops_per_s


def time_to_kill_s(world: Simulator, attacker: str, victim: str) -> float | None:
    """Returns the seconds from the first blow to death at close range, by the simulator's clock.

    None if the attacker cannot kill the victim.
    """
    times_s = []
    gap = RADIUS[attacker] + RADIUS[victim] + 0.05
    for _ in range(world.repeats):
        world.begin([(attacker, 12.0, 16.0)], [(victim, 12.0 + gap, 16.001), ("marine", 28.0, 28.0)], scripted=False)
        start, first = world.life(1)[0], 0
        for loop in range(1, 2000):
            world.loop({0: ("attack", 0)})
            life = world.life(1)[0]
            if life < start and not first:
                first = loop
            if life <= 0.0:
                times_s.append((loop - first) / world.loops_per_s)
                break
            if (loop == 40 and not first) or world.life(0)[0] <= 0.0:
                return None
    return mean(times_s) if times_s else None


def healing(world: Simulator) -> float:
    """Returns the health per second that a Medivac restores to a wounded Marauder."""
    world.begin([("marauder", 12.0, 16.0), ("medivac", 13.5, 16.0)], [("marine", 30.0, 30.0)], scripted=False)
    world.hurt(0, 60.0)
    before = world.life(0)[0]
    for _ in range(32):
        world.loop({1: ("heal", 0)})
    return (world.life(0)[0] - before) / 32 * world.loops_per_s


def shield_return(world: Simulator) -> dict[str, float] | None:
    """Returns the seconds without damage until a Zealot's shield regenerates, and the shield per second.

    None if there are no shields or they do not regenerate.
    """
    world.begin([("zealot", 12.0, 16.0)], [("marine", 30.0, 30.0)], scripted=False)
    if not world.hurt(0, 30.0):
        return None
    before, waited = world.life(0)[0], 0
    while world.life(0)[0] <= before and waited < _FAR:
        world.loop({})
        waited += 1
    if waited == _FAR:
        return None
    start = world.life(0)[0]
    for _ in range(16):
        world.loop({})
    return {"delay_s": waited / world.loops_per_s, "per_s": (world.life(0)[0] - start) / 16 * world.loops_per_s}


def splash(world: Simulator, kind: str) -> dict[str, float]:
    """Returns the damage of one blow to the targeted Marauder and to others 1.2, 2.4 and 3.6 to its side."""
    gap = 5.0 if kind == "colossus" else RADIUS[kind] + RADIUS["marauder"] + 0.05
    aside = (0.0, 1.2, 2.4, 3.6)
    row = [("marauder", 12.0 + gap, 16.001 + dy) for dy in aside]
    world.begin([(kind, 12.0, 16.0)], row, scripted=False)
    before = world.life(1)
    for _ in range(3):
        world.loop({0: ("attack", 0)})
        if world.life(1) != before:
            break
    return {f"{dy:g} aside": old - new for dy, old, new in zip(aside, before, world.life(1), strict=True)}


def retargeting(world: Simulator) -> dict[str, Any]:
    """Measure how the script of the enemies chooses targets, on one Marauder.

    Returns:
        ``acquired_within``: largest distance (between centres) at which it turns to a Marine behind it.
        ``to_the_nearer_when_...``: share of its damage that goes to a Marine that comes nearer than its target, if the
        target is ``standing`` still or ``shooting_back``.
    """
    within = 0.0
    for half in range(4, 23):
        world.begin([("marine", 20.01 + half / 2, 16.0)], [("marauder", 20.0, 16.0)], scripted=True)
        for _ in range(60):
            world.loop({})
        if world.life(0)[0] < 45.0:
            within = half / 2
    shares = {}
    for name, orders in (("standing", {}), ("shooting_back", {0: ("attack", 0)})):
        agents = [("marine", 14.5, 16.0), ("marine", 2.0, 30.0)]
        world.begin(agents, [("marauder", 20.0, 16.0)], scripted=True)
        while world.life(0)[0] >= 45.0:
            world.loop(orders)
        world.move(1, world.place(0)[0] + 2.5, 16.0)
        before = world.life(0)
        while min(world.life(0)) > 0.0 and sum(before) - sum(world.life(0)) < 25.0:
            world.loop(orders)
        lost = [old - new for old, new in zip(before, world.life(0), strict=True)]
        shares[f"to_the_nearer_when_{name}"] = lost[1] / sum(lost)
    return {"acquired_within": within, **shares}
