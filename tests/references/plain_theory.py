"""Exact policy iteration for tiny processes by sums, loops and enumeration, without solving a linear system."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

from mipi_pl.theory.mmdp import MMDP

Table = Any
"""policies[i][s][u]."""


def divergence(policy: Table, marginal: Table) -> float:
    return sum(p * math.log(p / m) for p, m in zip(policy, marginal, strict=True) if p > 0)


def joint_share(policies: Table, s: int, action: tuple[int, ...]) -> float:
    return math.prod(policies[i][s][u] for i, u in enumerate(action))


def all_actions(mmdp: MMDP) -> list[tuple[int, ...]]:
    return list(product(range(mmdp.n_actions), repeat=mmdp.n_agents))


def value(mmdp: MMDP, policies: Table, marginals: Table, alpha: float, start: int, steps: int) -> float:
    """E[sum of gamma^t (r - alpha sum of log ratios)] from a state, by following the distribution of states in time."""
    share, total = [0.0] * mmdp.n_states, 0.0
    share[start] = 1.0
    for t in range(steps):
        following = [0.0] * mmdp.n_states
        for s, weight in enumerate(share):
            for j, action in enumerate(all_actions(mmdp)):
                chance = weight * joint_share(policies, s, action)
                ratios = sum(
                    math.log(policies[i][s][u] / marginals[i][s][u]) for i, u in enumerate(action) if chance > 0
                )
                total += mmdp.gamma**t * chance * (mmdp.reward[s, j] - alpha * ratios)
                for after in range(mmdp.n_states):
                    following[after] += chance * mmdp.transition[s, j, after]
        share = following
    return total


def joint_value(mmdp: MMDP, values: list[float], s: int, j: int) -> float:
    expected = sum(mmdp.transition[s, j, after] * values[after] for after in range(mmdp.n_states))
    return float(mmdp.reward[s, j] + mmdp.gamma * expected)


def best_values(mmdp: MMDP, marginals: Table, alpha: float, points: int, sweeps: int) -> list[float]:
    """Value iteration in which each state tries every product of policies of a grid; two actions.

    What is found can be reached, and is short of the best by what lies between the points.
    """
    grid = [(p, 1 - p) for p in np.linspace(0, 1, points)]
    costs = {
        (i, s): [alpha * divergence(p, marginals[i][s]) for p in grid]
        for i in range(mmdp.n_agents)
        for s in range(mmdp.n_states)
    }
    choices = np.array(list(product(range(points), repeat=mmdp.n_agents)))
    values = [0.0] * mmdp.n_states
    for _ in range(sweeps):
        updated = []
        for s in range(mmdp.n_states):
            found = -sum(np.array(costs[i, s])[choices[:, i]] for i in range(mmdp.n_agents))
            for j, action in enumerate(all_actions(mmdp)):
                shares = [np.array([p[u] for p in grid])[choices[:, i]] for i, u in enumerate(action)]
                found = found + np.prod(shares, axis=0) * joint_value(mmdp, values, s, j)
            updated.append(float(found.max()))
        values = updated
    return values


def game_objective(games: Table, first: Table, second: Table, regularizer: str, alpha: float) -> float:
    """(3) of the one-step game: first[c][u] and second[c][u] in the equally likely games[c]."""
    total, teams = 0.0, len(games)
    for policies in (first, second):
        for policy in policies:
            if regularizer == "mutual_information":
                average = [sum(other[u] for other in policies) / teams for u in range(2)]
                total -= alpha * divergence(policy, average)
            if regularizer == "entropy":
                total -= alpha * divergence(policy, [1.0, 1.0])
    for c, game in enumerate(games):
        total += sum(first[c][u] * second[c][v] * game[u][v] for u in range(2) for v in range(2))
    return total / teams
