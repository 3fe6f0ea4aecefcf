"""Observations: features, presence, visibility and available actions.

`mipi_pl.envs.battle.observation.BattleLayout` defines the feature columns; the kernels receive them as `Columns`.
"""

from __future__ import annotations

import numpy as np

from mipi_pl.envs.battle.rules_rounding import rounded
from mipi_pl.envs.battle.rules_state import FIRST_MOVE, FIRST_TARGET, NO_OP, STOP, Columns
from mipi_pl.envs.kernels.compiled import rule
from mipi_pl.envs.kernels.records import Record, Records

_STEP_AHEAD = 1.0  # a move is available if the unit fits on the map this far ahead


@rule
def _can_step(unit: Record, k: int, rules: Record) -> bool:
    """Whether there is room to move north, south, east or west (k = 0..3)."""
    low, high = unit.radius + _STEP_AHEAD, rules.map_size - unit.radius - _STEP_AHEAD
    position = rounded(unit.y if k < 2 else unit.x)
    return position <= high if k == 0 or k == 2 else position >= low


@rule
def _can_target(unit: Record, other: Record, is_enemy: bool, damage: np.ndarray) -> bool:
    """Whether the unit's kind can attack the other unit (an enemy) or heal it (an ally)."""
    if is_enemy:
        return damage[unit.kind, other.kind] > 0.0
    return unit.heals and other.healable


@rule
def is_available(units: Records, i: int, action: int, damage: np.ndarray, rules: Record) -> bool:
    """Whether the action is available to agent i."""
    unit = units[i]
    if not unit.alive:
        return action == NO_OP
    if action < STOP or action >= rules.n_actions:
        return False
    if action == STOP:
        return True
    if action < FIRST_TARGET:
        return _can_step(unit, action - FIRST_MOVE, rules)
    k = action - FIRST_TARGET
    is_enemy = k < rules.n_enemies
    j = units[rules.n_agents + k].slot_of_tag if is_enemy else units[k - rules.n_enemies].slot_of_tag
    if j < 0 or j == i or not units[j].alive:
        return False
    other = units[j]
    dx, dy = rounded(other.x) - rounded(unit.x), rounded(other.y) - rounded(unit.y)
    near = dx * dx + dy * dy <= rules.target_range * rules.target_range
    return near and _can_target(unit, other, is_enemy, damage)


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
    """Write the observation of one battle.

    Args:
        units: UNIT [E].
        damage: float64 [K, K], damage per hit.
        rules: RULES.
        columns: first column of each feature block.
        entities: float32 [E, F], written.
        present: bool [E], written.
        visible: bool [A, E], written.
        action_mask: bool [A, U], written.
    """
    for i in range(units.size):
        units[i].next_x, units[i].next_y = rounded(units[i].x), rounded(units[i].y)
    cx, cy, largest = _spread(units)
    if not rules.centre_features:
        largest = 0.0
    for i in range(units.size):
        present[i] = units[i].kind >= 0
        _describe(units[i], i < rules.n_agents, cx, cy, largest, rules, columns, entities[i])
    for i in range(rules.n_agents):
        _look_around(units, i, damage, rules, visible[i], action_mask[i])
        for action in range(FIRST_MOVE, rules.n_actions):
            if action_mask[i, action]:
                entities[i, columns.available + _availability_column(action, rules)] = 1.0


@rule
def _availability_column(action: int, rules: Record) -> int:
    """Return an action's column in the block `available`. Without tags, all attacks share one and all heals another."""
    if rules.tags or action < FIRST_TARGET:
        return action - FIRST_MOVE
    return FIRST_TARGET - FIRST_MOVE + int(action >= FIRST_TARGET + rules.n_enemies)


@rule
def _look_around(
    units: Records, i: int, damage: np.ndarray, rules: Record, visible: np.ndarray, available: np.ndarray
) -> None:
    """Write which entities agent i sees [E] and which actions are available to it [U].

    The action mask equals `is_available` of every action but is computed in one pass over the units.
    """
    unit = units[i]
    visible[:] = False
    available[:] = False
    if not unit.alive:
        available[NO_OP] = True
        return
    available[STOP] = True
    for k in range(4):
        available[FIRST_MOVE + k] = _can_step(unit, k, rules)
    x, y = unit.next_x, unit.next_y
    for j in range(units.size):
        other = units[j]
        if not other.alive:
            continue
        dx, dy = other.next_x - x, other.next_y - y
        distance = dx * dx + dy * dy
        visible[j] = distance <= rules.sight * rules.sight
        if distance <= rules.target_range * rules.target_range and j != i:
            is_enemy = j >= rules.n_agents
            if _can_target(unit, other, is_enemy, damage):
                available[FIRST_TARGET + other.tag + (0 if is_enemy else rules.n_enemies)] = True


@rule
def _spread(units: Records) -> tuple[float, float, float]:
    """Return the centre of mass (x, y) of the living units and the distance of the farthest of them from it."""
    x, y, count = 0.0, 0.0, 0
    for i in range(units.size):
        if units[i].alive:
            x, y, count = x + units[i].next_x, y + units[i].next_y, count + 1
    if count == 0:
        return 0.0, 0.0, 0.0
    x, y = x / count, y / count
    squared = 0.0
    for i in range(units.size):
        if units[i].alive:
            dx, dy = units[i].next_x - x, units[i].next_y - y
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
    """Write the features of an entity, except the availability of actions.

    All features of an empty slot are 0. A dead unit only has its type and tag.
    """
    for f in range(features.size):
        features[f] = 0.0
    if unit.kind < 0:
        return
    if rules.tags:
        features[columns.tag + unit.tag] = 1.0
    features[columns.kind + unit.kind] = 1.0
    if not unit.alive:
        return
    features[columns.health] = rounded(unit.health) / unit.health_max
    if unit.shield_max > 0.0:
        features[columns.shield] = rounded(unit.shield) / unit.shield_max
    if is_agent:
        if unit.energy_max > 0.0:
            features[columns.energy] = rounded(unit.energy) / unit.energy_max
        features[columns.cooldown] = max(rounded(unit.cooldown), 0.0) / unit.period
    x, y = unit.next_x, unit.next_y
    features[columns.position] = x / rules.map_size - 0.5
    features[columns.position + 1] = y / rules.map_size - 0.5
    if largest > 0.0:
        features[columns.from_centre] = (x - cx) / largest
        features[columns.from_centre + 1] = (y - cy) / largest
