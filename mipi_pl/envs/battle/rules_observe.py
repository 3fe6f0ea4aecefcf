"""What the agents are shown: features, presence, visibility and available actions.

Where each feature is, `mipi_pl.envs.battle.observation.BattleLayout` says; the kernels get it as `Columns`.
"""

from __future__ import annotations

import numpy as np

from mipi_pl.envs.battle.compiled import rule
from mipi_pl.envs.battle.rules_state import FIRST_MOVE, FIRST_TARGET, NO_OP, STOP, Columns, Record, Records

_STEP_AHEAD = 1.0  # a move is available when this far ahead the unit can stand


@rule
def is_available(units: Records, i: int, action: int, damage: np.ndarray, rules: Record) -> bool:
    """Whether agent i may play the action now."""
    unit = units[i]
    if not unit.alive:
        return action == NO_OP
    if action < STOP or action >= rules.n_actions:
        return False
    if action == STOP:
        return True
    if action < FIRST_TARGET:
        low, high = unit.radius + _STEP_AHEAD, rules.map_size - unit.radius - _STEP_AHEAD
        k = action - FIRST_MOVE  # north, south, east, west
        place = unit.y if k < 2 else unit.x
        return place <= high if k == 0 or k == 2 else place >= low
    k = action - FIRST_TARGET
    attack = k < rules.n_enemies
    j = units[rules.n_agents + k].slot_of_tag if attack else units[k - rules.n_enemies].slot_of_tag
    if j < 0 or j == i or not units[j].alive:
        return False
    other = units[j]
    if not (damage[unit.kind, other.kind] > 0.0 if attack else unit.heals and other.healable):
        return False
    dx, dy = other.x - unit.x, other.y - unit.y
    return dx * dx + dy * dy <= rules.target_range * rules.target_range


@rule
def observe(
    units: Records,
    damage: np.ndarray,
    rules: Record,
    columns: Columns,
    entities: np.ndarray,
    present: np.ndarray,
    visible: np.ndarray,
    action_mask: np.ndarray,
) -> None:
    """Write the observation of one battle: [E, F], [E], [A, E], [A, U]."""
    cx, cy, largest = _spread(units)
    if not rules.centre_features:
        largest = 0.0
    sight = rules.sight * rules.sight
    for i in range(units.size):
        present[i] = units[i].kind >= 0
        _describe(units[i], i < rules.n_agents, cx, cy, largest, rules, columns, entities[i])
    for i in range(rules.n_agents):
        unit = units[i]
        for action in range(rules.n_actions):
            yes = is_available(units, i, action, damage, rules)
            action_mask[i, action] = yes
            if yes and action >= FIRST_MOVE:
                entities[i, columns.available + action - FIRST_MOVE] = 1.0
        for j in range(units.size):
            dx, dy = units[j].x - unit.x, units[j].y - unit.y
            visible[i, j] = unit.alive and units[j].alive and dx * dx + dy * dy <= sight


@rule
def _spread(units: Records) -> tuple[float, float, float]:
    """Centre of mass of the living, and how far the farthest is from it."""
    x, y, count = 0.0, 0.0, 0
    for i in range(units.size):
        if units[i].alive:
            x, y, count = x + units[i].x, y + units[i].y, count + 1
    if count == 0:
        return 0.0, 0.0, 0.0
    x, y = x / count, y / count
    squared = 0.0
    for i in range(units.size):
        if units[i].alive:
            dx, dy = units[i].x - x, units[i].y - y
            squared = max(squared, dx * dx + dy * dy)
    return x, y, np.sqrt(squared)


@rule
def _describe(
    unit: Record,
    is_agent: bool,
    cx: float,
    cy: float,
    largest: float,
    rules: Record,
    columns: Columns,
    features: np.ndarray,
) -> None:
    """The features of an entity, but for the availability of actions: none when absent, type and tag when dead."""
    for f in range(features.size):
        features[f] = 0.0
    if unit.kind < 0:
        return
    features[columns.tag + unit.tag] = 1.0
    features[columns.kind + unit.kind] = 1.0
    if not unit.alive:
        return
    features[columns.health] = unit.health / unit.health_max
    if unit.shield_max > 0.0:
        features[columns.shield] = unit.shield / unit.shield_max
    if is_agent:
        if unit.energy_max > 0.0:
            features[columns.energy] = unit.energy / unit.energy_max
        features[columns.cooldown] = max(unit.cooldown, 0.0) / unit.period
    features[columns.position] = unit.x / rules.map_size - 0.5
    features[columns.position + 1] = unit.y / rules.map_size - 0.5
    if largest > 0.0:
        features[columns.from_centre] = (unit.x - cx) / largest
        features[columns.from_centre + 1] = (unit.y - cy) / largest
