"""Observations: features, presence, visibility and available actions."""

from __future__ import annotations

from typing import NamedTuple

from mipi_pl.envs.kernels.compiled import rule
from mipi_pl.envs.kernels.records import Record
from mipi_pl.envs.resource.rules_state import N_ACTIONS, NOTHING, STAY


class Columns(NamedTuple):
    """First column of each feature block."""

    kind: int
    position: int
    velocity: int
    carries: int
    skill: int
    speed: int


@rule
def is_available(team: int, i: int, action: int) -> bool:
    """Whether an agent slot may play an action: all actions for a team member, only the first for an empty slot."""
    return 0 <= action < N_ACTIONS if i < team else action == STAY


@rule
def _sees(agent: Record, x: float, y: float, reach: float) -> bool:
    dx, dy = agent.x - x, agent.y - y
    return dx * dx + dy * dy <= reach * reach


@rule
def _place(entities, e: int, kind: int, x: float, y: float, rules, columns: Columns) -> None:  # type: ignore[no-untyped-def]
    entities[e, columns.kind + kind] = 1.0
    entities[e, columns.position] = x / rules.position_unit
    entities[e, columns.position + 1] = y / rules.position_unit


@rule
def _features(episode, agents, skills, resources, rules, columns, entities) -> None:  # type: ignore[no-untyped-def]
    entities[:] = 0.0
    home = rules.n_agents
    for i in range(episode.team):
        agent = agents[i]
        _place(entities, i, 0, agent.x, agent.y, rules, columns)
        entities[i, columns.velocity], entities[i, columns.velocity + 1] = agent.vx, agent.vy
        if agent.carries != NOTHING:
            entities[i, columns.carries + agent.carries] = 1.0
        for k in range(rules.n_types):
            entities[i, columns.skill + k] = skills[i, k]
        entities[i, columns.speed] = agent.speed
    _place(entities, home, 1, 0.0, 0.0, rules, columns)
    for j in range(resources.size):
        _place(entities, home + 1 + j, 2 + j % rules.n_types, resources[j].x, resources[j].y, rules, columns)
    invader = home + 1 + resources.size
    if episode.away == 0:
        _place(entities, invader, 2 + rules.n_types, episode.invader_x, episode.invader_y, rules, columns)
    else:
        entities[invader, columns.kind + 2 + rules.n_types] = 1.0


@rule
def observe(b, state, rules, columns, out):  # type: ignore[no-untyped-def]
    """Write the observation of the current state of episode b."""
    episode, agents, resources = state.episodes[b], state.agents[b], state.resources[b]
    present, visible, action_mask = out.present[b], out.visible[b], out.action_mask[b]
    _features(episode, agents, state.skills[b], resources, rules, columns, out.entities[b])
    n, home = episode.team, rules.n_agents
    for e in range(present.size):
        present[e] = e < n or e >= home
    visible[:] = False
    for i in range(rules.n_agents):
        for u in range(N_ACTIONS):
            action_mask[i, u] = is_available(n, i, u)
    for i in range(n):
        agent = agents[i]
        for k in range(n):
            visible[i, k] = i == k or _sees(agent, agents[k].x, agents[k].y, rules.sight)
        visible[i, home] = _sees(agent, 0.0, 0.0, rules.sight + rules.home_size)
        for j in range(resources.size):
            visible[i, home + 1 + j] = _sees(agent, resources[j].x, resources[j].y, rules.sight + rules.resource_size)
        if episode.away == 0:
            reach = rules.sight + rules.invader_size
            visible[i, home + 1 + resources.size] = _sees(agent, episode.invader_x, episode.invader_y, reach)
