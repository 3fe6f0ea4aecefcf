"""Compiled entry points of Resource Collection: begin, advance and find unavailable actions.

The rules themselves are in the modules `rules_*`. With NUMBA_DISABLE_JIT=1 the same code runs as plain Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import prange

from mipi_pl.envs import kernels
from mipi_pl.envs.kernels.compiled import entry, rule
from mipi_pl.envs.resource.rules_events import go_on, pay
from mipi_pl.envs.resource.rules_motion import move_team
from mipi_pl.envs.resource.rules_observe import is_available, observe
from mipi_pl.envs.resource.rules_spawn import spawn
from mipi_pl.utils.compiled import source_hash


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

    begin: Callable[..., int]
    """(rows bool [B], state, land, columns, out)"""
    advance: Callable[..., int]
    """(action int64 [B, A], state, land, columns, out)"""


def _parallel_entries(source: int) -> Entries:
    @entry(parallel=True)
    def begin_parallel(rows, state, land, columns, out):  # type: ignore[no-untyped-def]
        for b in prange(rows.size):
            if rows[b]:
                # The index of a parallel loop is unsigned. Unconverted, it would compile all rules a second time.
                _begin_one(np.int64(b), state, land, columns, out)
        return source

    @entry(parallel=True)
    def advance_parallel(action, state, land, columns, out):  # type: ignore[no-untyped-def]
        for b in prange(action.shape[0]):
            _advance_one(np.int64(b), action, state, land, columns, out)
        return source

    return Entries(begin_parallel, advance_parallel)


def _serial_entries(source: int) -> Entries:
    @entry()
    def begin_serial(rows, state, land, columns, out):  # type: ignore[no-untyped-def]
        for b in range(rows.size):
            if rows[b]:
                _begin_one(np.int64(b), state, land, columns, out)
        return source

    @entry()
    def advance_serial(action, state, land, columns, out):  # type: ignore[no-untyped-def]
        for b in range(action.shape[0]):
            _advance_one(np.int64(b), action, state, land, columns, out)
        return source

    return Entries(begin_serial, advance_serial)


def _make_find_unavailable(source: int) -> Callable[..., int]:
    @entry()
    def find_unavailable(action, episodes):  # type: ignore[no-untyped-def]
        _ = source
        for b in range(action.shape[0]):
            if not episodes[b].ended:
                for i in range(action.shape[1]):
                    if not is_available(episodes[b].team, i, action[b, i]):
                        return b * action.shape[1] + i
        return -1

    return find_unavailable


_SOURCE = source_hash(__package__, kernels.__name__)
parallel_entries = _parallel_entries(_SOURCE)
serial_entries = _serial_entries(_SOURCE)
find_unavailable = _make_find_unavailable(_SOURCE)
"""(action int64 [B, A], episodes): flat index b x A + i of the first unavailable action, or -1."""
