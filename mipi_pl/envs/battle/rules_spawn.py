"""Start of a battle: composition, positions, tags and units at full health."""

from __future__ import annotations

import numpy as np

from mipi_pl.envs.battle.rules_judge import note_vitality
from mipi_pl.envs.battle.rules_movement import list_living, settle
from mipi_pl.envs.battle.rules_rounding import rounded
from mipi_pl.envs.battle.rules_state import GOING_ON, IDLE
from mipi_pl.envs.kernels.compiled import rule
from mipi_pl.envs.kernels.random import below, uniform
from mipi_pl.envs.kernels.records import Record, Records

_LONG_AGO = 1 << 30  # loops since the last damage, so that shields may regenerate at once


@rule
def spawn(
    battle: Record,
    units: Records,
    pairs: np.ndarray,
    rules: Record,
    kinds: Records,
    draws: Records,
    slots: np.ndarray,
    formation: np.ndarray,
) -> None:
    """Start a new battle: draw the composition, place both armies and assign tags."""
    drawn = uniform(battle)
    c = 0
    while c < draws.size - 1 and drawn >= draws[c].cumulative:
        c += 1
    battle.composition = c
    battle.steps = 0
    battle.ended = GOING_ON
    # Random direction. Trigonometric functions are avoided because their last bit differs between machines.
    ux, uy, squared = 0.0, 0.0, 0.0
    while squared < 1e-4 or squared > 1.0:
        ux = 2.0 * uniform(battle) - 1.0
        uy = 2.0 * uniform(battle) - 1.0
        squared = ux * ux + uy * uy
    ux, uy = ux / np.sqrt(squared), uy / np.sqrt(squared)
    _place_army(battle, units, rules, kinds, slots[c], formation, 0, ux, uy)
    _place_army(battle, units, rules, kinds, slots[c], formation, 1, -ux, -uy)
    _assign_tags(battle, units, rules, 0, rules.n_agents)
    _assign_tags(battle, units, rules, rules.n_agents, rules.n_enemies)
    settle(units, list_living(units), pairs, rules)
    # Positions are rounded because the game can only be sent rounded ones.
    for i in range(units.size):
        units[i].x, units[i].y = rounded(units[i].x), rounded(units[i].y)
    note_vitality(units)


@rule
def _place_army(
    battle: Record,
    units: Records,
    rules: Record,
    kinds: Records,
    slots: np.ndarray,
    formation: np.ndarray,
    side: int,
    ux: float,
    uy: float,
) -> None:
    """Fill the slots of a side around its spawn point, which lies in direction (ux, uy) from the map's centre.

    The formation is rotated to that direction, so neither army has a better position.
    """
    sx = 0.5 * (rules.map_size + rules.spawn_distance * ux)
    sy = 0.5 * (rules.map_size + rules.spawn_distance * uy)
    sx, sy = rounded(sx), rounded(sy)
    if side == 0:
        battle.agents_x, battle.agents_y = sx, sy
    else:
        battle.enemies_x, battle.enemies_y = sx, sy
    group, nth, jx, jy = -1, 0, 0.0, 0.0
    first = 0 if side == 0 else rules.n_agents
    for i in range(first, first + (rules.n_agents if side == 0 else rules.n_enemies)):
        kind = slots[i]
        unit = units[i]
        unit.kind = kind
        unit.alive = 0
        if kind < 0:
            continue
        if kind != group:  # slots are sorted by kind, so a new group starts here and draws its own jitter
            group, nth = kind, 0
            jx = rules.jitter * (2.0 * uniform(battle) - 1.0)
            jy = rules.jitter * (2.0 * uniform(battle) - 1.0)
        _outfit(unit, kinds[kind])
        ox, oy = formation[nth, 0] * unit.radius, formation[nth, 1] * unit.radius
        unit.x = sx + jx + ux * ox - uy * oy
        unit.y = sy + jy + uy * ox + ux * oy
        nth += 1


@rule
def _outfit(unit: Record, kind: Record) -> None:
    """Reset a unit to a new unit of its kind."""
    unit.radius, unit.speed, unit.reach, unit.period = kind.radius, kind.speed, kind.reach, kind.period
    unit.armour, unit.hits = kind.armour, kind.hits
    unit.splash_length, unit.splash_width = kind.splash_length, kind.splash_width
    unit.blast_radius, unit.health_regen = kind.blast_radius, kind.health_regen
    unit.health_max, unit.shield_max, unit.energy_max = kind.health, kind.shield, kind.energy_max
    unit.energy_regen, unit.heal, unit.health_per_energy = kind.energy_regen, kind.heal, kind.health_per_energy
    unit.flies, unit.fights, unit.heals, unit.healable = kind.flies, kind.fights, kind.heals, kind.healable
    unit.alive = 1
    unit.health, unit.shield, unit.energy = kind.health, kind.shield, kind.energy
    unit.cooldown = 0.0
    unit.peace = _LONG_AGO
    unit.order = IDLE
    unit.target = -1
    unit.turn = 0
    unit.walks = 0


@rule
def _assign_tags(battle: Record, units: Records, rules: Record, first: int, n: int) -> None:
    """Assign a tag to every slot of a side, empty ones included: shuffled, or the slot's index within the side."""
    for k in range(n):
        units[first + k].tag = k
    if rules.random_tags:
        for k in range(n - 1, 0, -1):
            other = first + below(battle, k + 1)
            swapped = units[first + k].tag
            units[first + k].tag = units[other].tag
            units[other].tag = swapped
    for i in range(first, first + n):
        units[first + units[i].tag].slot_of_tag = i if units[i].kind >= 0 else -1
