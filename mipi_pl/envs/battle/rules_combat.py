"""Orders, attacks and healing of one game loop.

All units first decide on an action. Attacks, healing, explosions and deaths are then resolved in that order.
"""

from __future__ import annotations

import numpy as np

from mipi_pl.envs.battle.rules_movement import walk_towards
from mipi_pl.envs.battle.rules_rounding import rounded
from mipi_pl.envs.battle.rules_state import (
    ATTACK,
    BLAST,
    FIRST_MOVE,
    FIRST_TARGET,
    HEAL,
    IDLE,
    MEND,
    MOVE,
    NOTHING,
    STOP,
    STRIKE,
)
from mipi_pl.envs.kernels.compiled import rule
from mipi_pl.envs.kernels.records import Record, Records

_MOVE_LENGTH = 2.0
_LEAST_DAMAGE = 0.5  # minimum damage of a hit on health, whatever the armour
_PEACE_LOOPS = 160  # loops without damage before shields regenerate: 10 Blizzard seconds, 7.14 s at 'faster'
_SHIELD_PER_LOOP = 0.125  # 2 per Blizzard second, 2.8 per second at 'faster'


@rule
def distance_between(one: Record, two: Record) -> float:
    """Return the distance from centre to centre."""
    dx, dy = two.x - one.x, two.y - one.y
    return np.sqrt(dx * dx + dy * dy)


@rule
def reach_to(unit: Record, other: Record) -> float:
    """Return the maximum distance of the centres at which the unit can hit or heal the other."""
    return unit.reach + unit.radius + other.radius


@rule
def give_order(units: Records, i: int, action: int, rules: Record) -> None:
    """Convert an agent's action to its order for this step."""
    unit = units[i]
    unit.target = -1
    if action <= STOP:
        unit.order = IDLE
    elif action < FIRST_TARGET:
        k = action - FIRST_MOVE  # north, south, east, west
        dx = _MOVE_LENGTH if k == 2 else -_MOVE_LENGTH if k == 3 else 0.0
        dy = _MOVE_LENGTH if k == 0 else -_MOVE_LENGTH if k == 1 else 0.0
        unit.order = MOVE
        unit.goal_x = rounded(min(max(rounded(unit.x) + dx, unit.radius), rules.map_size - unit.radius))
        unit.goal_y = rounded(min(max(rounded(unit.y) + dy, unit.radius), rules.map_size - unit.radius))
    else:
        k = action - FIRST_TARGET
        if k < rules.n_enemies:
            unit.order = ATTACK
            unit.target = units[rules.n_agents + k].slot_of_tag
        else:
            unit.order = HEAL
            unit.target = units[k - rules.n_enemies].slot_of_tag


@rule
def follow_order(units: Records, i: int) -> None:
    """Set the deed of unit i in this loop from its order: attack, heal, walk or stand."""
    unit = units[i]
    unit.deed = NOTHING
    if unit.order == MOVE:
        walk_towards(unit, unit.goal_x, unit.goal_y, 0.0)
        if not unit.walks:
            unit.order = IDLE
    elif unit.order == ATTACK or unit.order == HEAL:
        target = units[unit.target]
        if not target.alive:
            unit.order = IDLE
            unit.target = -1
        elif distance_between(unit, target) > reach_to(unit, target):
            walk_towards(unit, target.x, target.y, unit.radius + target.radius)
        elif unit.order == HEAL:
            unit.deed = MEND
        elif unit.cooldown <= 0.0:
            unit.deed = STRIKE


@rule
def pass_time(unit: Record) -> None:
    """Start a loop: advance the weapon's timer and regenerate energy, health and shield."""
    unit.walks = 0
    unit.aim = unit.target if unit.order == ATTACK else -1
    if unit.cooldown > 0.0:
        unit.cooldown -= 1.0
    unit.energy = min(unit.energy + unit.energy_regen, unit.energy_max)
    unit.health = min(unit.health + unit.health_regen, unit.health_max)
    unit.peace += 1
    if unit.peace >= _PEACE_LOOPS:
        unit.shield = min(unit.shield + _SHIELD_PER_LOOP, unit.shield_max)


@rule
def strike(units: Records, n: int, i: int, damage: np.ndarray, rules: Record) -> None:
    """Let unit i attack its target and all enemies within its splash.

    The timer carries fractions of a loop over: attack k of an unbroken fight comes ceil(k x period) loops after the
    first. A weapon that is ready but not used keeps no fraction.
    """
    unit = units[i]
    if unit.blast_radius > 0.0:
        _detonate(unit)
        return
    target = units[unit.target]
    unit.cooldown += unit.period
    _hit(unit, target, damage[unit.kind, target.kind])
    if unit.splash_length == 0.0:
        return
    distance = max(distance_between(unit, target), 1e-9)
    fx, fy = (target.x - unit.x) / distance, (target.y - unit.y) / distance
    for a in range(n):
        j = units[a].living
        other = units[j]
        if j == unit.target or (j < rules.n_agents) == (i < rules.n_agents) or other.flies:
            continue
        dx, dy = other.x - target.x, other.y - target.y
        across = max(abs(fx * dy - fy * dx) - 0.5 * unit.splash_length, 0.0)
        along = max(abs(fx * dx + fy * dy) - 0.5 * unit.splash_width, 0.0)
        if across * across + along * along <= other.radius * other.radius:
            _hit(unit, other, damage[unit.kind, other.kind])


@rule
def _detonate(unit: Record) -> None:
    """Kill the unit, which sets off its charge in `explode`."""
    unit.health, unit.shield = 0.0, 0.0


@rule
def explode(units: Records, n: int, damage: np.ndarray, rules: Record) -> None:
    """Set off the charges of all units that die in this loop, including units killed by other charges.

    The result does not depend on the order of the units, so neither side has an advantage.
    """
    more = True
    while more:
        more = False
        for a in range(n):
            i = units[a].living
            unit = units[i]
            if unit.health > 0.0 or unit.blast_radius == 0.0 or unit.deed == BLAST:
                continue
            unit.deed = BLAST
            more = True
            for c in range(n):
                j = units[c].living
                other = units[j]
                limit = unit.blast_radius + other.radius
                if (j < rules.n_agents) == (i < rules.n_agents) or other.flies:
                    continue
                if distance_between(unit, other) <= limit:
                    _hit(unit, other, damage[unit.kind, other.kind])


@rule
def _hit(unit: Record, victim: Record, amount: float) -> None:
    """Apply all hits of one attack. Shields absorb damage first and have no armour; armour reduces the rest."""
    for _ in range(unit.hits):
        absorbed = min(amount, victim.shield)
        victim.shield -= absorbed
        remaining = amount - absorbed
        victim.health -= max(remaining - victim.armour, min(remaining, _LEAST_DAMAGE))
    victim.peace = 0


@rule
def mend(healer: Record, patient: Record) -> None:
    """Restore the patient's health within the limits of its wounds and the healer's energy. The dead stay dead."""
    missing = patient.health_max - patient.health
    if patient.health <= 0.0 or missing <= 0.0:
        return
    amount = min(healer.heal, missing, healer.energy * healer.health_per_energy)
    patient.health += amount
    healer.energy -= amount / healer.health_per_energy
