"""What the kernels read and write: B battles as arrays of records, and the rules' constants.

Slots: E = A + M entities in each battle; slots 0..A-1 are the agents' side, A..E-1 the enemies'. Lengths are map units,
times are game loops, flags are integers 0 and 1. All fields have 8 bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mipi_pl.envs.kernels.records import Records, record_type

IDLE, MOVE, ATTACK, HEAL = 0, 1, 2, 3
"""Orders of a unit."""
NOTHING, STRIKE, MEND, BLAST = 0, 1, 2, 3
"""Deeds of a unit in a loop."""
GOING_ON, LOST, TIME_UP, WON, DRAWN = 0, 1, 2, 3, 4
"""How a battle stands; drawn when the last fighters of both sides die in one loop."""
NO_OP, STOP, FIRST_MOVE, FIRST_TARGET = 0, 1, 2, 6
"""Actions: 2-5 move north, south, east, west; from 6 on one per enemy tag, then (with healers) one per agent tag."""

UNIT = record_type(
    # What the search for near pairs reads, then the rest of movement, in as few lines of cache as can be.
    "queue:i living:i next_x next_y radius flies:i x y alive:i walks:i step_x step_y push_x push_y blocked:i "
    "obstacle_side turn:i speed order:i target:i aim:i deed:i kind:i fights:i health shield energy cooldown "
    "peace:i vitality reach goal_x goal_y period armour hits:i splash_length splash_width blast_radius health_max "
    "shield_max health_regen energy_max energy_regen heal health_per_energy heals:i healable:i tag:i slot_of_tag:i"
)
"""A unit slot [B, E].

radius, flies, speed, fights, reach, period, armour and so on are copied from the unit table.
kind: row of that table, -1 in an empty slot. period: loops between blows. cooldown: loops until the next may come.
peace: loops since the last damage. target: slot that an attack or heal order is for, -1 without.
vitality: health and shield as told after the last step.
turn: the way round an obstacle, positive is left; its size is how many loops it is remembered.
aim: whom it attacked in the loop before, -1 for none.
The fields next, step, push, walks, blocked, obstacle_side, aim and deed are worked out afresh in every loop. While an
observation is made, next is the position as it is told.

Three fields belong to the place in the array, not to the unit: slot_of_tag (at k: the slot of agent tag k, at A + k: of
enemy tag k, -1 when nobody bears it), living (the slots of the living, in the first places) and queue (the same,
walkers first; then the neighbours of one that is blocked).
"""

BATTLE = record_type("agents_x agents_y enemies_x enemies_y steps:i ended:i composition:i random:u")
"""A battle [B]: where each army appeared, steps since then, how it stands, what was drawn, its random generator."""

KIND = record_type(
    "health shield armour speed radius reach period splash_length splash_width blast_radius health_regen heal "
    "health_per_energy energy energy_max energy_regen flies:i fights:i heals:i healable:i hits:i"
)
"""A row of the unit table [K]."""

RULES = record_type(
    "map_size spawn_distance jitter sight target_range acquisition kill_reward win_reward n_agents:i n_enemies:i "
    "n_actions:i loops_per_step:i episode_limit:i tags:i random_tags:i centre_features:i both_scripted:i"
)
"""Constants of a scenario [1]."""

DRAW = record_type("cumulative reward_scale")
"""A composition [C]: cumulative probability of being drawn; scale of its reward."""


class World(NamedTuple):
    """Everything about a scenario that does not change."""

    rules: Records
    """RULES [1]."""
    kinds: Records
    """KIND [K]."""
    damage: np.ndarray
    """float64 [K attacker, K target]: of a hit, before armour; 0 when out of the weapon's reach."""
    draws: Records
    """DRAW [C]."""
    slots: np.ndarray
    """int64 [C, E]: kind of the unit in each slot, -1 for none."""
    formation: np.ndarray
    """float64 [places, 2]: places around the point where units of one kind appear, for radius 1."""


class Columns(NamedTuple):
    """First column of each block of features; -1 for one that is left out."""

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
    """BATTLE [B], none of them begun."""
    return np.zeros(n_envs, dtype=BATTLE)


def make_pairs(n_envs: int, n_slots: int) -> np.ndarray:
    """Working memory for the pairs of units that are near each other: int64 [B, E (E - 1) / 2 + 1, 2]."""
    return np.zeros((n_envs, n_slots * (n_slots - 1) // 2 + 1, 2), dtype=np.int64)


def make_units(n_envs: int, n_slots: int) -> Records:
    """UNIT [B, E], all slots empty."""
    units = np.zeros((n_envs, n_slots), dtype=UNIT)
    for name in ("kind", "slot_of_tag", "target"):
        units[name] = -1
    return units
