"""Scripted policies for comparison: `random` and `expert`. They use the full state, not the observation.

In `expert` the agent nearest to the invader chases it, agents that carry a resource go home, and all other agents go to
the nearest resource of their best skill. All of them steer around bodies in their way.
"""

from __future__ import annotations

import math

import numpy as np

from mipi_pl.envs.kernels.compiled import entry, rule
from mipi_pl.envs.kernels.random import below
from mipi_pl.envs.kernels.records import Record, Records
from mipi_pl.envs.kernels.scripted import ScriptedPolicy
from mipi_pl.envs.resource.env import ResourceCollection
from mipi_pl.envs.resource.rules_state import EAST, N_ACTIONS, NORTH, NOTHING, SOUTH, STAY, WEST

POLICIES = {name: number for number, name in enumerate(ResourceCollection.scripted)}
"""Name of each scripted policy and its number in the kernel."""

_LOOK_AHEAD = 0.16
"""Distance ahead within which an agent avoids bodies."""
_PASSING = 0.02
"""Gap that it leaves when passing them."""


@rule
def _nearest_to_invader(episode: Record, agents: Records) -> int:
    """Return the agent nearest to the invader, or -1 while the invader is away."""
    best, nearest = -1, np.inf
    for i in range(episode.team if episode.away == 0 else 0):
        dx, dy = agents[i].x - episode.invader_x, agents[i].y - episode.invader_y
        if dx * dx + dy * dy < nearest:
            best, nearest = i, dx * dx + dy * dy
    return best


@rule
def _wanted_resource(agent: Record, skills: np.ndarray, resources: Records) -> int:
    """Return the nearest resource of the agent's best skill."""
    best, best_skill, nearest = 0, -1.0, np.inf
    for j in range(resources.size):
        skill = skills[j % skills.size]
        dx, dy = agent.x - resources[j].x, agent.y - resources[j].y
        distance = dx * dx + dy * dy
        if skill > best_skill or (skill == best_skill and distance < nearest):
            best, best_skill, nearest = j, skill, distance
    return best


@rule
def _turn(agent: Record, ux: float, uy: float, x: float, y: float, size: float, rules: Record) -> float:
    """Return how far to turn to avoid a body at (x, y): positive to the left, 0 if it is no obstacle.

    (ux, uy) is the direction to the goal, a unit vector; `size` is the radius of the body.
    """
    dx, dy = x - agent.x, y - agent.y
    ahead, aside = dx * ux + dy * uy, dx * uy - dy * ux
    clearance = size + rules.agent_size + _PASSING
    if ahead <= 0.0 or ahead > clearance + _LOOK_AHEAD or abs(aside) >= clearance:
        return 0.0
    push = (clearance - abs(aside)) / max(ahead, clearance) * 2.0
    return push if aside >= 0.0 else -push


@rule
def _steer(i, episode, agents, resources, x, y, goal, rules):  # type: ignore[no-untyped-def]
    """Return the action that leads to (x, y) around other bodies.

    `goal` is the index of the resource at (x, y), -1 for home, the number of resources for the invader. The goal is not
    an obstacle.
    """
    agent = agents[i]
    dx, dy = x - agent.x, y - agent.y
    distance = math.sqrt(dx * dx + dy * dy) + 1e-12
    ux, uy = dx / distance, dy / distance
    turn = 0.0
    for k in range(episode.team):
        if k != i:
            turn += _turn(agent, ux, uy, agents[k].x, agents[k].y, rules.agent_size, rules)
    for j in range(resources.size):
        if j != goal:
            turn += _turn(agent, ux, uy, resources[j].x, resources[j].y, rules.resource_size, rules)
    if goal >= 0:
        turn += _turn(agent, ux, uy, 0.0, 0.0, rules.home_size, rules)
    # Desired velocity (wx, wy): full speed towards the goal, turned to the left by `turn`.
    wx, wy = ux - turn * uy, uy + turn * ux
    length = math.sqrt(wx * wx + wy * wy)
    wx, wy = wx / length * agent.speed, wy / length * agent.speed
    keep = 1.0 - rules.damping
    wx, wy = wx - keep * agent.vx, wy - keep * agent.vy
    if abs(wx) >= abs(wy):
        return EAST if wx > 0.0 else WEST
    return NORTH if wy > 0.0 else SOUTH


@rule
def _expert(i, chaser, episode, agents, skills, resources, rules):  # type: ignore[no-untyped-def]
    agent = agents[i]
    if i == chaser:
        return _steer(i, episode, agents, resources, episode.invader_x, episode.invader_y, resources.size, rules)
    if agent.carries != NOTHING:
        return _steer(i, episode, agents, resources, 0.0, 0.0, -1, rules)
    j = _wanted_resource(agent, skills[i], resources)
    return _steer(i, episode, agents, resources, resources[j].x, resources[j].y, j, rules)


@entry(__package__)
def _choose(policy, generators, state, land, action):  # type: ignore[no-untyped-def]
    rules = land.rules[0]
    for b in range(action.shape[0]):
        episode, agents = state.episodes[b], state.agents[b]
        chaser = _nearest_to_invader(episode, agents)
        for i in range(action.shape[1]):
            if i >= episode.team:
                action[b, i] = STAY
            elif policy == 0:
                action[b, i] = below(generators[b], N_ACTIONS)
            else:
                action[b, i] = _expert(i, chaser, episode, agents, state.skills[b], state.resources[b], rules)


def make_scripted(name: str, env: ResourceCollection, seed: int = 0) -> ScriptedPolicy:
    """Return the policy `name`, one of `POLICIES`, for an environment. Only the policy `random` uses `seed`."""
    number = POLICIES[name]
    return ScriptedPolicy(
        env, seed, lambda generators, action: _choose(number, generators, env.state, env.land, action)
    )
