"""The built-in script: what the enemies do (and, for measuring fairness, what it would do with the agents' side).

Fighters attack-move to the centre of the other side's spawn: they walk there, and attack whatever comes within the
acquisition range. Healers follow their army and mend the most wounded.
"""

from __future__ import annotations

import numpy as np

from mipi_pl.envs.battle.rules_combat import distance_between, follow_order, reach_to
from mipi_pl.envs.battle.rules_movement import walk_towards
from mipi_pl.envs.battle.rules_state import ATTACK, HEAL, IDLE
from mipi_pl.envs.kernels.compiled import rule
from mipi_pl.envs.kernels.records import Record, Records

_ARRIVED = 1.0  # from the centre of the other spawn
_FOLLOW = 1.0  # how near a healer keeps to the centre of its army


@rule
def script(battle: Record, units: Records, m: int, n: int, i: int, damage: np.ndarray, rules: Record) -> None:
    """Choose and play the order of unit i. The places 0..m-1 of the living are agents, m..n-1 enemies."""
    unit = units[i]
    is_agent = i < rules.n_agents
    first, last = (0, m) if is_agent else (m, n)  # places of its own side
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
    """Keep a target that attacks back; else the fighters in range before the others, and of these the nearest."""
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
    """The most wounded (least share of health) in reach; else the most wounded within the acquisition range."""
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
    """Walk to the centre of the side's fighters."""
    x, y, count = 0.0, 0.0, 0
    for a in range(first, last):
        j = units[a].living
        if units[j].fights:
            x, y, count = x + units[j].x, y + units[j].y, count + 1
    if count > 0:
        walk_towards(units[i], x / count, y / count, _FOLLOW)
