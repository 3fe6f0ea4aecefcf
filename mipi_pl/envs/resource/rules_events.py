"""What pays: the invader's arrival, catching it, collecting, delivering; then what comes back and the invader's walk.

An agent has part in one event a step. Who catches or collects is decided by nearness, not by slot, so that the order of
the agents means nothing.
"""

from __future__ import annotations

import math

import numpy as np

from mipi_pl.envs.kernels.compiled import rule
from mipi_pl.envs.kernels.random import below
from mipi_pl.envs.kernels.records import Record, Records
from mipi_pl.envs.resource.rules_spawn import place_invader, place_resource
from mipi_pl.envs.resource.rules_state import NOTHING


@rule
def _squared(agent: Record, x: float, y: float) -> float:
    return (agent.x - x) * (agent.x - x) + (agent.y - y) * (agent.y - y)


@rule
def _send_away(episode: Record, rules: Record) -> None:
    episode.away = 1 + below(episode, rules.invader_delay)


@rule
def _invader(episode: Record, agents: Records, rules: Record) -> float:
    """The invader arrives, or the nearest of those who touch it catches it."""
    if episode.away > 0:
        return 0.0
    touching = rules.home_size + rules.invader_size + rules.touch_margin
    x, y = episode.invader_x, episode.invader_y
    if x * x + y * y <= touching * touching:
        episode.lost += 1
        _send_away(episode, rules)
        return -rules.arrival_penalty
    touching = rules.agent_size + rules.invader_size + rules.touch_margin
    best, nearest = -1, touching * touching
    for i in range(episode.team):
        squared = _squared(agents[i], x, y)
        if squared <= nearest and (best < 0 or squared < nearest):
            best, nearest = i, squared
    if best < 0:
        return 0.0
    agents[best].acted = 1
    episode.caught += 1
    _send_away(episode, rules)
    return rules.catch_reward


@rule
def _collect(episode: Record, agents: Records, skills: np.ndarray, resources: Records, rules: Record) -> float:
    """Free agents take what they touch, the nearest pair first."""
    reward = 0.0
    touching = rules.agent_size + rules.resource_size + rules.touch_margin
    while True:
        taker, thing, nearest = -1, -1, touching * touching
        for i in range(episode.team):
            if agents[i].carries != NOTHING or agents[i].acted:
                continue
            for j in range(resources.size):
                squared = _squared(agents[i], resources[j].x, resources[j].y)
                if not resources[j].taken and squared <= nearest and (taker < 0 or squared < nearest):
                    taker, thing, nearest = i, j, squared
        if taker < 0:
            return reward
        agents[taker].carries, agents[taker].acted = thing % rules.n_types, 1
        resources[thing].taken = 1
        episode.collected += 1
        reward += rules.collect_reward * skills[taker, thing % rules.n_types]


@rule
def _deliver(episode: Record, agents: Records, rules: Record) -> float:
    reward = 0.0
    touching = rules.agent_size + rules.home_size + rules.touch_margin
    for i in range(episode.team):
        agent = agents[i]
        if agent.carries != NOTHING and not agent.acted and _squared(agent, 0.0, 0.0) <= touching * touching:
            agent.carries, agent.acted = NOTHING, 1
            episode.delivered += 1
            reward += rules.deliver_reward
    return reward


@rule
def pay(episode: Record, agents: Records, skills: np.ndarray, resources: Records, rules: Record) -> float:
    """The step's events; the sum of the agents' rewards, unscaled."""
    for i in range(episode.team):
        agents[i].acted = 0
    reward = _invader(episode, agents, rules)
    reward += _collect(episode, agents, skills, resources, rules)
    return reward + _deliver(episode, agents, rules)


@rule
def go_on(episode: Record, resources: Records, came: bool, rules: Record) -> None:
    """Taken resources reappear; the invader walks on, or comes back `away` steps after it was sent away.

    Args:
        episode: EPISODE.
        resources: RESOURCE [R].
        came: the invader was on its way when the step began.
        rules: RULES.
    """
    for j in range(resources.size):
        if resources[j].taken:
            place_resource(episode, resources, j, rules)
    if episode.away == 0:
        x, y = episode.invader_x, episode.invader_y
        distance = math.sqrt(x * x + y * y)
        left = max(distance - rules.invader_step, 0.0) / distance
        episode.invader_x, episode.invader_y = x * left, y * left
    elif not came:
        episode.away -= 1
        if episode.away == 0:
            place_invader(episode, rules)
