"""Compiled entry points of the battle: begin, advance and find unavailable actions.

The rules themselves are in the modules `rules_*`. With NUMBA_DISABLE_JIT=1 the same code runs as plain Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import prange

from mipi_pl.envs.battle.rules_combat import explode, follow_order, give_order, mend, pass_time, strike
from mipi_pl.envs.battle.rules_judge import judge, outcome, write_result
from mipi_pl.envs.battle.rules_movement import list_living, move
from mipi_pl.envs.battle.rules_observe import is_available, observe
from mipi_pl.envs.battle.rules_script import script
from mipi_pl.envs.battle.rules_spawn import spawn
from mipi_pl.envs.battle.rules_state import GOING_ON, MEND, STRIKE
from mipi_pl.envs.kernels.compiled import entry, rule
from mipi_pl.envs.kernels.records import Record, Records


@rule
def play_loop(battle: Record, units: Records, pairs: np.ndarray, damage: np.ndarray, rules: Record) -> None:
    """Play one game loop: time, intentions, attacks, healing, explosions, deaths, movement."""
    n, m = list_living(units), 0
    for a in range(n):
        pass_time(units[units[a].living])
        m += int(units[a].living < rules.n_agents)
    for a in range(n):
        i = units[a].living
        if i >= rules.n_agents or rules.both_scripted:
            script(battle, units, m, n, i, damage, rules)
        else:
            follow_order(units, i)
    for a in range(n):
        i = units[a].living
        if units[i].deed == STRIKE:
            strike(units, n, i, damage, rules)
        elif units[i].cooldown < 0.0:
            units[i].cooldown = 0.0
    for a in range(n):
        unit = units[units[a].living]
        if unit.deed == MEND:
            mend(unit, units[unit.target])
    explode(units, n, damage, rules)
    left = 0
    for a in range(n):
        i = units[a].living
        if units[i].health > 0.0:
            units[left].living = i
            left += 1
        else:
            units[i].alive = 0
            units[i].health = 0.0
    move(units, left, pairs, rules)


@rule
def play_step(
    battle: Record, units: Records, pairs: np.ndarray, actions: np.ndarray, damage: np.ndarray, rules: Record
) -> float:
    """Play one step and return its unscaled reward. A battle that has ended does not change; its reward is 0."""
    if battle.ended != GOING_ON:
        return 0.0
    for i in range(rules.n_agents):
        if units[i].alive and not rules.both_scripted:
            give_order(units, i, actions[i], rules)
    for _ in range(rules.loops_per_step):
        play_loop(battle, units, pairs, damage, rules)
        if outcome(units, rules) != GOING_ON:
            break
    return judge(battle, units, rules)


@rule
def _begin_one(b, battles, units, pairs, world, columns, out):  # type: ignore[no-untyped-def]
    rules = world.rules[0]
    spawn(battles[b], units[b], pairs[b], rules, world.kinds, world.draws, world.slots, world.formation)
    out.composition[b] = battles[b].composition
    observe(units[b], world.damage, rules, columns, out.entities[b], out.present[b], out.visible[b], out.action_mask[b])


@rule
def _advance_one(b, action, battles, units, pairs, world, columns, out):  # type: ignore[no-untyped-def]
    battle, rules = battles[b], world.rules[0]
    reward = play_step(battle, units[b], pairs[b], action[b], world.damage, rules)
    write_result(out, b, battle, reward, world.draws)
    observe(units[b], world.damage, rules, columns, out.entities[b], out.present[b], out.visible[b], out.action_mask[b])


class Entries(NamedTuple):
    """Compiled loops over battles. A parallel and a serial version exist; their results are equal."""

    begin: Callable[..., None]
    """(rows bool [B], battles, units, pairs, world, columns, out)"""
    advance: Callable[..., None]
    """(action int64 [B, A], battles, units, pairs, world, columns, out)"""


@entry(__package__, parallel=True)
def _begin_parallel(rows, battles, units, pairs, world, columns, out):  # type: ignore[no-untyped-def]
    for b in prange(rows.size):
        if rows[b]:
            # The index of a parallel loop is unsigned. Unconverted, it would compile all rules a second time.
            _begin_one(np.int64(b), battles, units, pairs, world, columns, out)


@entry(__package__, parallel=True)
def _advance_parallel(action, battles, units, pairs, world, columns, out):  # type: ignore[no-untyped-def]
    for b in prange(action.shape[0]):
        _advance_one(np.int64(b), action, battles, units, pairs, world, columns, out)


@entry(__package__)
def _begin_serial(rows, battles, units, pairs, world, columns, out):  # type: ignore[no-untyped-def]
    for b in range(rows.size):
        if rows[b]:
            _begin_one(np.int64(b), battles, units, pairs, world, columns, out)


@entry(__package__)
def _advance_serial(action, battles, units, pairs, world, columns, out):  # type: ignore[no-untyped-def]
    for b in range(action.shape[0]):
        _advance_one(np.int64(b), action, battles, units, pairs, world, columns, out)


parallel_entries = Entries(_begin_parallel, _advance_parallel)
serial_entries = Entries(_begin_serial, _advance_serial)


@entry(__package__)
def find_unavailable(action, battles, units, world):  # type: ignore[no-untyped-def]
    """Return the flat index b x A + i of the first action int64 [B, A] that is not available, or -1."""
    rules = world.rules[0]
    for b in range(action.shape[0]):
        if battles[b].ended == GOING_ON:
            for i in range(rules.n_agents):
                if not is_available(units[b], i, action[b, i], world.damage, rules):
                    return b * rules.n_agents + i
    return -1
