"""The built-in script that commands the enemies. It can also command the agents, to measure fairness.

Armed units attack-move to the centre of the other side's spawn: they walk there and attack any enemy within the
acquisition range. Healers follow their army and heal the most wounded ally.
"""

from __future__ import annotations

import numpy as np

from mipi_pl.envs.battle.rules_combat import distance_between, follow_order, reach_to
from mipi_pl.envs.battle.rules_movement import walk_towards
from mipi_pl.envs.battle.rules_state import ATTACK, HEAL, IDLE
from mipi_pl.envs.kernels.compiled import rule
from mipi_pl.envs.kernels.records import Record, Records

_ARRIVED = 1.0  # distance from the centre of the other side's spawn at which units stop
_FOLLOW = 1.0  # distance that a healer keeps from the centre of its army


@rule
def script(battle: Record, units: Records, m: int, n: int, i: int, damage: np.ndarray, rules: Record) -> None:
    """Choose and follow the order of unit i. Entries 0..m-1 of the list of living units are agents, m..n-1 enemies."""
    unit = units[i]
    is_agent = i < rules.n_agents
    first, last = (0, m) if is_agent else (m, n)  # range of its own side in the list of living units
    if unit.heals:
        _choose_patient(units, first, last, i, rules)
    else:
        _choose_target(units, m if is_agent else 0, n if is_agent else m, i, damage, rules)
    follow_order(units, i)
    if unit.order != IDLE:
        return
    if unit.heals:
        _follow_army(units, first, last, i)
    elif is_agent:
        walk_towards(unit, battle.enemies_x, battle.enemies_y, _ARRIVED)
    else:
        walk_towards(unit, battle.agents_x, battle.agents_y, _ARRIVED)


@rule
def _choose_target(units: Records, first: int, last: int, i: int, damage: np.ndarray, rules: Record) -> None:
    """Keep a target that attacks back; otherwise attack the nearest enemy in range, armed enemies before others."""
    unit = units[i]
    limit = rules.acquisition * rules.acquisition
    if unit.aim >= 0:
        kept = units[unit.aim]
        if kept.alive and kept.aim == i and distance_between(unit, kept) <= rules.acquisition:
            return
    best, best_fights, best_distance = -1, 0, limit
    for a in range(first, last):
        j = units[a].living
        other = units[j]
        if damage[unit.kind, other.kind] == 0.0:
            continue
        dx, dy = other.x - unit.x, other.y - unit.y
        distance = dx * dx + dy * dy
        if distance > limit or other.fights < best_fights:
            continue
        if best < 0 or other.fights > best_fights or distance < best_distance:
            best, best_fights, best_distance = j, other.fights, distance
    unit.target = best
    unit.order = ATTACK if best >= 0 else IDLE


@rule
def _choose_patient(units: Records, first: int, last: int, i: int, rules: Record) -> None:
    """Choose the ally with the lowest share of health within healing range, or else within the acquisition range."""
    unit = units[i]
    best, best_near, best_share = -1, False, 1.0
    for a in range(first, last):
        j = units[a].living
        other = units[j]
        if j == i or not other.healable:
            continue
        share, distance = other.health / other.health_max, distance_between(unit, other)
        if share >= 1.0 or distance > rules.acquisition:
            continue
        near = distance <= reach_to(unit, other)
        if (near and not best_near) or (near == best_near and share < best_share):
            best, best_near, best_share = j, near, share
    unit.target = best
    unit.order = HEAL if best >= 0 else IDLE


@rule
def _follow_army(units: Records, first: int, last: int, i: int) -> None:
    """Walk to the centre of the armed units of the healer's side."""
    x, y, count = 0.0, 0.0, 0
    for a in range(first, last):
        j = units[a].living
        if units[j].fights:
            x, y, count = x + units[j].x, y + units[j].y, count + 1
    if count > 0:
        walk_towards(units[i], x / count, y / count, _FOLLOW)
