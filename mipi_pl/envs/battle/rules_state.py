"""State of the kernels: B battles as record arrays, and the constants of a scenario.

A battle has E = A + M entity slots: 0..A-1 for agents, A..E-1 for enemies. Lengths are in map units and times in game
loops; flags are integers 0 and 1. All fields have 8 bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mipi_pl.envs.kernels.records import Records, record_type

IDLE, MOVE, ATTACK, HEAL = 0, 1, 2, 3
"""Orders of a unit."""
NOTHING, STRIKE, MEND, BLAST = 0, 1, 2, 3
"""Deeds: the action of a unit in a loop."""
GOING_ON, LOST, TIME_UP, WON, DRAWN = 0, 1, 2, 3, 4
"""Outcomes of a battle. It is drawn if the last armed units of both sides die in the same loop."""
NO_OP, STOP, FIRST_MOVE, FIRST_TARGET = 0, 1, 2, 6
"""Actions: 2-5 move north, south, east, west; from 6 on one attack per enemy tag, then (with healers) one heal per
agent tag."""

UNIT = record_type(
    # Ordered to touch few cache lines: first the fields of the search for near pairs, then the rest of movement.
    "queue:i living:i next_x next_y radius flies:i x y alive:i walks:i step_x step_y push_x push_y blocked:i "
    "obstacle_side turn:i speed order:i target:i aim:i deed:i kind:i fights:i health shield energy cooldown "
    "peace:i vitality reach goal_x goal_y period armour hits:i splash_length splash_width blast_radius health_max "
    "shield_max health_regen energy_max energy_regen heal health_per_energy heals:i healable:i tag:i slot_of_tag:i"
)
"""Unit slot [B, E].

* radius, flies, speed, fights, reach, period, armour and other properties are copied from the unit table.
* kind: row of the unit table, -1 in an empty slot.
* period: loops between attacks. cooldown: loops until the next attack.
* peace: loops since the last damage.
* target: slot that an attack or heal order aims at, -1 for none.
* vitality: health plus shield after the last step, both rounded by `rounded`.
* turn: side on which the unit passes an obstacle, positive is left; the absolute value is the number of loops for which
  it keeps the side.
* aim: slot that the unit attacked in the previous loop, -1 for none.

Every loop recomputes next, step, push, walks, blocked, obstacle_side, aim and deed. While an observation is written,
next holds the position rounded by `rounded`.

Three fields belong to the index in the array, not to the unit:

* slot_of_tag: at index k the slot of agent tag k, at A + k the slot of enemy tag k; -1 if no unit has the tag.
* living: slots of the living units, at the first indices.
* queue: the same, walkers first; later the neighbours of a blocked unit.
"""

BATTLE = record_type("agents_x agents_y enemies_x enemies_y steps:i ended:i composition:i random:u")
"""Battle [B]: spawn point of each army, steps played, outcome, composition, random generator."""

KIND = record_type(
    "health shield armour speed radius reach period splash_length splash_width blast_radius health_regen heal "
    "health_per_energy energy energy_max energy_regen flies:i fights:i heals:i healable:i hits:i"
)
"""Row of the unit table [K]."""

RULES = record_type(
    "map_size spawn_distance jitter sight target_range acquisition kill_reward win_reward n_agents:i n_enemies:i "
    "n_actions:i loops_per_step:i episode_limit:i tags:i random_tags:i centre_features:i both_scripted:i"
)
"""Constants of a scenario [1]."""

DRAW = record_type("cumulative reward_scale")
"""Composition [C]: cumulative probability of drawing it, and scale of its reward."""


class World(NamedTuple):
    """Constants of a scenario, as arrays for the kernels."""

    rules: Records
    """RULES [1]."""
    kinds: Records
    """KIND [K]."""
    damage: np.ndarray
    """float64 [K attacker, K target]: damage per hit before armour; 0 if the weapon cannot hit the target."""
    draws: Records
    """DRAW [C]."""
    slots: np.ndarray
    """int64 [C, E]: kind of the unit in each slot, -1 for an empty slot."""
    formation: np.ndarray
    """float64 [positions, 2]: offsets of the units of one kind from their spawn point, for units of radius 1."""


class Columns(NamedTuple):
    """First column of each feature block; -1 if the layout does not have the block."""

    tag: int
    available: int
    kind: int
    health: int
    shield: int
    energy: int
    cooldown: int
    position: int
    from_centre: int


def make_battles(n_envs: int) -> Records:
    """Allocate BATTLE [B], none of them started."""
    return np.zeros(n_envs, dtype=BATTLE)


def make_pairs(n_envs: int, n_slots: int) -> np.ndarray:
    """Allocate working memory for pairs of nearby units: int64 [B, E (E - 1) / 2 + 1, 2]."""
    return np.zeros((n_envs, n_slots * (n_slots - 1) // 2 + 1, 2), dtype=np.int64)


def make_units(n_envs: int, n_slots: int) -> Records:
    """Allocate UNIT [B, E], all slots empty."""
    units = np.zeros((n_envs, n_slots), dtype=UNIT)
    for name in ("kind", "slot_of_tag", "target"):
        units[name] = -1
    return units
