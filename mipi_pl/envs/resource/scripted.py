"""Simple players, to compare a policy with: `random` and `expert`. They know the whole square.

`expert`: the agent nearest to the invader goes for it; who carries something goes home; everybody else goes to the
nearest resource of the type that it is best at. Each steers round bodies in its way.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mipi_pl.envs import kernels
from mipi_pl.envs.kernels.compiled import entry, rule
from mipi_pl.envs.kernels.random import below
from mipi_pl.envs.kernels.records import Record, Records
from mipi_pl.envs.kernels.scripted import ScriptedPolicy
from mipi_pl.envs.resource.env import ResourceCollection
from mipi_pl.envs.resource.rules_state import EAST, N_ACTIONS, NORTH, NOTHING, SOUTH, STAY, WEST
from mipi_pl.utils.compiled import source_hash

POLICIES = {name: number for number, name in enumerate(ResourceCollection.scripted)}
"""Names of the scripted policies and their numbers in the kernel."""

_LOOK_AHEAD = 0.16
"""How far ahead an agent looks for bodies in its way."""
_PASSING = 0.02
"""The gap with which it passes them."""


@rule
def _nearest_to_invader(episode: Record, agents: Records) -> int:
    """The agent that goes for the invader; -1 while there is none."""
    best, nearest = -1, np.inf
    for i in range(episode.team if episode.away == 0 else 0):
        dx, dy = agents[i].x - episode.invader_x, agents[i].y - episode.invader_y
        if dx * dx + dy * dy < nearest:
            best, nearest = i, dx * dx + dy * dy
    return best


@rule
def _wanted_resource(agent: Record, skills: np.ndarray, resources: Records) -> int:
    """The nearest resource of the best skill."""
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
    """How strongly a body at (x, y) in the way asks to be passed: positive on its left; 0 if it is not in the way."""
    dx, dy = x - agent.x, y - agent.y
    ahead, aside = dx * ux + dy * uy, dx * uy - dy * ux
    need = size + rules.agent_size + _PASSING
    if ahead <= 0.0 or ahead > need + _LOOK_AHEAD or abs(aside) >= need:
        return 0.0
    push = (need - abs(aside)) / max(ahead, need) * 2.0
    return push if aside >= 0.0 else -push


@rule
def _steer(i, episode, agents, resources, x, y, goal, rules):  # type: ignore[no-untyped-def]
    """The action that leads to (x, y) round other bodies; `goal` is the resource that is no obstacle, or -1."""
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
    # What is wanted is a velocity: the way to go at full speed, turned to the left by `turn`.
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


def _make_choose(source: int) -> Callable[..., int]:
    @entry()
    def choose(policy, generators, state, land, action):  # type: ignore[no-untyped-def]
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
        return source

    return choose


_choose = _make_choose(source_hash(__package__, kernels.__name__))


def make_scripted(name: str, env: ResourceCollection, seed: int = 0) -> ScriptedPolicy:
    """The policy `name` of `POLICIES` for an environment; `seed` is of the policy `random`."""
    number = POLICIES[name]
    return ScriptedPolicy(
        env, seed, lambda generators, action: _choose(number, generators, env.state, env.land, action)
    )
