"""Compiled entry points of Resource Collection: begin, advance and find unavailable actions.

The rules themselves are in the modules `rules_*`. With NUMBA_DISABLE_JIT=1 the same code runs as plain Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import prange

from mipi_pl.envs.kernels.compiled import entry, rule
from mipi_pl.envs.resource.rules_events import go_on, pay
from mipi_pl.envs.resource.rules_motion import move_team
from mipi_pl.envs.resource.rules_observe import is_available, observe
from mipi_pl.envs.resource.rules_spawn import spawn


@rule
def play_step(b, action, state, rules):  # type: ignore[no-untyped-def]
    """Play one step of episode b and return its unscaled reward. An ended episode does not change; its reward is 0."""
    episode, agents, resources = state.episodes[b], state.agents[b], state.resources[b]
    if episode.ended:
        return 0.0
    invader_present = episode.away == 0
    move_team(episode, agents, resources, action[b], rules)
    reward = pay(episode, agents, state.skills[b], resources, rules)
    go_on(episode, resources, invader_present, rules)
    episode.steps += 1
    episode.ended = int(episode.steps >= rules.episode_limit)
    return reward


@rule
def _begin_one(b, state, land, columns, out):  # type: ignore[no-untyped-def]
    spawn(b, state, land)
    out.composition[b] = state.episodes[b].composition
    observe(b, state, land.rules[0], columns, out)


@rule
def _advance_one(b, action, state, land, columns, out):  # type: ignore[no-untyped-def]
    rules = land.rules[0]
    out.reward[b] = play_step(b, action, state, rules) * rules.reward_scale
    out.terminated[b] = False
    out.truncated[b] = state.episodes[b].ended != 0
    out.won[b] = False
    out.composition[b] = state.episodes[b].composition
    observe(b, state, rules, columns, out)


class Entries(NamedTuple):
    """Compiled loops over episodes. A parallel and a serial version exist; their results are equal."""

    begin: Callable[..., None]
    """(rows bool [B], state, land, columns, out)"""
    advance: Callable[..., None]
    """(action int64 [B, A], state, land, columns, out)"""


@entry(__package__, parallel=True)
def _begin_parallel(rows, state, land, columns, out):  # type: ignore[no-untyped-def]
    for b in prange(rows.size):
        if rows[b]:
            # The index of a parallel loop is unsigned. Unconverted, it would compile all rules a second time.
            _begin_one(np.int64(b), state, land, columns, out)


@entry(__package__, parallel=True)
def _advance_parallel(action, state, land, columns, out):  # type: ignore[no-untyped-def]
    for b in prange(action.shape[0]):
        _advance_one(np.int64(b), action, state, land, columns, out)


@entry(__package__)
def _begin_serial(rows, state, land, columns, out):  # type: ignore[no-untyped-def]
    for b in range(rows.size):
        if rows[b]:
            _begin_one(np.int64(b), state, land, columns, out)


@entry(__package__)
def _advance_serial(action, state, land, columns, out):  # type: ignore[no-untyped-def]
    for b in range(action.shape[0]):
        _advance_one(np.int64(b), action, state, land, columns, out)


parallel_entries = Entries(_begin_parallel, _advance_parallel)
serial_entries = Entries(_begin_serial, _advance_serial)


@entry(__package__)
def find_unavailable(action, episodes):  # type: ignore[no-untyped-def]
    """Return the flat index b x A + i of the first action int64 [B, A] that is not available, or -1."""
    for b in range(action.shape[0]):
        if not episodes[b].ended:
            for i in range(action.shape[1]):
                if not is_available(episodes[b].team, i, action[b, i]):
                    return b * action.shape[1] + i
    return -1
