"""Events and rewards of a step: invader arrival, catch, collection, delivery; then respawns and the invader's move.

An agent takes part in at most one event per step. The nearest agent catches or collects, so the order of the agent
slots has no effect.
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
    """Let the invader arrive at home, or the nearest agent that touches it catch it; return the reward."""
    if episode.away > 0:
        return 0.0
    contact = rules.home_size + rules.invader_size + rules.touch_margin
    x, y = episode.invader_x, episode.invader_y
    if x * x + y * y <= contact * contact:
        episode.lost += 1
        _send_away(episode, rules)
        return -rules.arrival_penalty
    contact = rules.agent_size + rules.invader_size + rules.touch_margin
    catcher, nearest = -1, contact * contact
    for i in range(episode.team):
        squared = _squared(agents[i], x, y)
        if squared <= nearest and (catcher < 0 or squared < nearest):
            catcher, nearest = i, squared
    if catcher < 0:
        return 0.0
    agents[catcher].acted = 1
    episode.caught += 1
    _send_away(episode, rules)
    return rules.catch_reward


@rule
def _collect(episode: Record, agents: Records, skills: np.ndarray, resources: Records, rules: Record) -> float:
    """Let free agents collect resources that they touch, the nearest pair first; return the reward."""
    reward = 0.0
    contact = rules.agent_size + rules.resource_size + rules.touch_margin
    while True:
        collector, collected, nearest = -1, -1, contact * contact
        for i in range(episode.team):
            if agents[i].carries != NOTHING or agents[i].acted:
                continue
            for j in range(resources.size):
                squared = _squared(agents[i], resources[j].x, resources[j].y)
                if not resources[j].taken and squared <= nearest and (collector < 0 or squared < nearest):
                    collector, collected, nearest = i, j, squared
        if collector < 0:
            return reward
        agents[collector].carries, agents[collector].acted = collected % rules.n_types, 1
        resources[collected].taken = 1
        episode.collected += 1
        reward += rules.collect_reward * skills[collector, collected % rules.n_types]


@rule
def _deliver(episode: Record, agents: Records, rules: Record) -> float:
    reward = 0.0
    contact = rules.agent_size + rules.home_size + rules.touch_margin
    for i in range(episode.team):
        agent = agents[i]
        if agent.carries != NOTHING and not agent.acted and _squared(agent, 0.0, 0.0) <= contact * contact:
            agent.carries, agent.acted = NOTHING, 1
            episode.delivered += 1
            reward += rules.deliver_reward
    return reward


@rule
def pay(episode: Record, agents: Records, skills: np.ndarray, resources: Records, rules: Record) -> float:
    """Play the events of the step and return the sum of the agents' rewards, unscaled."""
    for i in range(episode.team):
        agents[i].acted = 0
    reward = _invader(episode, agents, rules)
    reward += _collect(episode, agents, skills, resources, rules)
    return reward + _deliver(episode, agents, rules)


@rule
def go_on(episode: Record, resources: Records, invader_present: bool, rules: Record) -> None:
    """Respawn taken resources, and move the invader or bring it back `away` steps after it remaining.

    Args:
        episode: EPISODE.
        resources: RESOURCE [R].
        invader_present: whether the invader was on the ground when the step began.
        rules: RULES.
    """
    for j in range(resources.size):
        if resources[j].taken:
            place_resource(episode, resources, j, rules)
    if episode.away == 0:
        x, y = episode.invader_x, episode.invader_y
        distance = math.sqrt(x * x + y * y)
        remaining = max(distance - rules.invader_step, 0.0) / distance
        episode.invader_x, episode.invader_y = x * remaining, y * remaining
    elif not invader_present:
        episode.away -= 1
        if episode.away == 0:
            place_invader(episode, rules)
