"""Exact solution of (3) under its constraint (4) for the matrix game of section 5.1 of the paper.

Each agent's own part s_i^+ is its index and s_i^- is the team. The constraint therefore makes an agent's marginal the
mean of its policies over the training teams. Sizes: C training teams, U actions; policies are [2, C, U].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from mipi_pl.losses.information import Regularizer
from mipi_pl.theory.mmdp import Array
from mipi_pl.theory.policy_iteration import divergences, improve
from mipi_pl.utils.checks import choose, require

Payoffs = Mapping[str, Sequence[Sequence[float]]]
"""Payoff matrix [U, U] of each team, such as ``AB``; rows are the actions of agent 1."""

_SHARES = np.linspace(0.05, 0.95, 5)
"""Initial probabilities of action 0, for each agent and team."""
_ROUNDS = 150
"""Rounds of coordinate ascent from every start; the best result is then improved further."""


@dataclass(frozen=True)
class Solution:
    """Optimal policies on the training teams.

    Attributes:
        policies: pi_i(u|s) [2, C, U].
        objective: value of (3).
    """

    policies: Array
    objective: float

    def greedy(self) -> Array:
        """Return the most probable actions as deterministic policies [2, C, U]."""
        greedy: Array = np.eye(self.policies.shape[-1])[self.policies.argmax(axis=-1)]
        return greedy


def solve(payoffs: Payoffs, trained: Sequence[str], regularizer: str, alpha: float) -> Solution:
    """Maximize (3) over all products of policies, with the policies' own averages as marginals.

    The method is coordinate ascent from a grid of starts. Each step is an exact maximizer: an agent's policy given the
    other agent's policy and the marginal, or the marginals given the policies. Without a regularizer, all deterministic
    policies are tried instead.

    Args:
        payoffs: payoff matrices of all teams.
        trained: names of the training teams, which are equally likely; the others are held out.
        regularizer: ``mutual_information``, ``entropy`` or ``none``.
        alpha: temperature; 0 means no regularizer.

    Raises:
        ValueError: if the regularizer is unknown or the temperature is negative.
    """
    kind = choose("regularizer", regularizer, Regularizer)
    games = _matrices(payoffs, trained)
    require("alpha", alpha, 0)
    unregularized = kind is Regularizer.NONE or alpha == 0
    policies = _best_deterministic(games) if unregularized else _ascend(games, kind, alpha)
    return Solution(policies, float(objective(games, policies[None], kind, alpha)[0]))


def payoffs_in_training(games: Array, policies: Array) -> Array:
    """Return the expected payoff in each training team, [C]."""
    expected: Array = np.einsum("cu,cuv,cv->c", policies[0], games, policies[1])
    return expected


def payoffs_elsewhere(game: Array, policies: Array) -> Array:
    """Return the expected payoffs [C, C] in a held-out team.

    The policies are undefined there. Entry [j, k] is the payoff if agent 1 acts as in training team j and agent 2 as in
    training team k. All entries are equal if neither policy depends on the team.
    """
    expected: Array = np.einsum("ju,uv,kv->jk", policies[0], game, policies[1])
    return expected


def objective(games: Array, policies: Array, regularizer: Regularizer, alpha: float) -> Array:
    """Return (3), [B], for B pairs of policies [B, 2, C, U] in the games [C, U, U]."""
    payoff = np.einsum("bcu,cuv,bcv->bc", policies[:, 0], games, policies[:, 1]).mean(axis=1)
    if regularizer is Regularizer.NONE or alpha == 0:
        return payoff
    value: Array = payoff - alpha * divergences(policies, _prior(policies, regularizer)).mean(axis=2).sum(axis=1)
    return value


def exact_payoffs(payoffs: Payoffs, trained: Sequence[str], alpha: float) -> dict[str, dict[str, float]]:
    """Return the payoffs of the exact solutions, played greedily, by regularizer and team.

    The payoff of a held-out team is the mean of `payoffs_elsewhere`.
    """
    games = _matrices(payoffs, trained)
    exact: dict[str, dict[str, float]] = {}
    for kind in Regularizer:
        greedy = solve(payoffs, trained, kind.value, alpha).greedy()
        elsewhere = {
            name: float(payoffs_elsewhere(np.array(game, dtype=np.float64), greedy).mean())
            for name, game in payoffs.items()
            if name not in trained
        }
        in_training = zip(trained, payoffs_in_training(games, greedy).tolist(), strict=True)
        exact[kind.value] = {**dict(in_training), **elsewhere}
    return exact


def _matrices(payoffs: Payoffs, teams: Sequence[str]) -> Array:
    return np.array([payoffs[name] for name in teams], dtype=np.float64)


def _prior(policies: Array, regularizer: Regularizer) -> Array:
    """Return the reference of the divergence: the policies' average over the teams, or the constant 1 for entropy."""
    if regularizer is Regularizer.ENTROPY:
        return np.ones_like(policies)
    return np.broadcast_to(policies.mean(axis=2, keepdims=True), policies.shape)


def _ascend(games: Array, regularizer: Regularizer, alpha: float) -> Array:
    grid = np.array(list(product(_SHARES, repeat=2 * len(games)))).reshape(-1, 2, len(games))
    policies = _climb(games, np.stack((grid, 1 - grid), axis=-1), regularizer, alpha, _ROUNDS)
    best = policies[np.argmax(objective(games, policies, regularizer, alpha))]
    return _climb(games, best[None], regularizer, alpha, 20 * _ROUNDS)[0]


def _climb(games: Array, policies: Array, regularizer: Regularizer, alpha: float, rounds: int) -> Array:
    for _ in range(rounds):
        for agent, utility in ((0, "cuv,bcv->bcu"), (1, "cuv,bcu->bcv")):
            utilities = np.einsum(utility, games, policies[:, 1 - agent])
            prior = _prior(policies, regularizer)[:, agent]
            policies = policies.copy()
            policies[:, agent] = improve(utilities, prior, alpha)
    return policies


def _best_deterministic(games: Array) -> Array:
    # Each team is an independent problem: its best joint action, the first one if several are equally good.
    policies = np.zeros((2, *games.shape[:2]))
    for team, game in enumerate(games):
        first, second = np.unravel_index(np.argmax(game), game.shape)
        policies[0, team, first] = policies[1, team, second] = 1.0
    return policies
