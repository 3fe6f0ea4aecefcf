"""The exact solution of (3) under its constraint (4) for the matrix game of section 5.1.

Each agent's own part s_i^+ is its index and s_i^- the team, so the constraint makes the marginal of an agent the mean
of its policies over the training teams. Letters: C training teams, U actions, policies [2, C, U].
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
"""Team, such as ``AB``, to matrix [U, U], rows for agent 1."""

_SHARES = np.linspace(0.05, 0.95, 5)
"""Probabilities of action 0 from which the ascent starts, for each agent and team."""
_ROUNDS = 150
"""Of coordinate ascent; the ascent goes on where that was not enough."""


@dataclass(frozen=True)
class Solution:
    """What is best in training.

    Attributes:
        policies: pi_i(u|s) [2, C, U].
        objective: (3).
    """

    policies: Array
    objective: float

    def greedy(self) -> Array:
        """The most probable actions, as policies [2, C, U]."""
        chosen: Array = np.eye(self.policies.shape[-1])[self.policies.argmax(axis=-1)]
        return chosen


def solve(payoffs: Payoffs, trained: Sequence[str], regularizer: str, alpha: float) -> Solution:
    """Maximise (3), with the policies' own averages as marginals, over all products of policies.

    Coordinate ascent with exact maximisers (each agent's policy given the other's and the marginal, and the marginals)
    from a grid of starts; without a regulariser, all deterministic policies.

    Args:
        payoffs: of all teams.
        trained: teams of training, equally likely; the others are held out.
        regularizer: ``mutual_information``, ``entropy`` or ``none``.
        alpha: temperature; at 0 there is no regulariser.

    Raises:
        ValueError: for an unknown regulariser or a negative temperature.
    """
    kind = choose("regularizer", regularizer, Regularizer)
    games = _matrices(payoffs, trained)
    require("alpha", alpha, 0)
    free = kind is Regularizer.NONE or alpha == 0
    policies = _best_deterministic(games) if free else _ascend(games, kind, alpha)
    return Solution(policies, float(objective(games, policies[None], kind, alpha)[0]))


def payoffs_in_training(games: Array, policies: Array) -> Array:
    """Expected payoff in each training team [C]."""
    found: Array = np.einsum("cu,cuv,cv->c", policies[0], games, policies[1])
    return found


def payoffs_elsewhere(game: Array, policies: Array) -> Array:
    """Expected payoffs [C, C] in a team that was never seen.

    What the policies do there is open. Entry [j, k] is the payoff if agent 1 takes it for training team j and agent 2
    for training team k. All are equal if neither policy depends on the team.
    """
    found: Array = np.einsum("ju,uv,kv->jk", policies[0], game, policies[1])
    return found


def objective(games: Array, policies: Array, regularizer: Regularizer, alpha: float) -> Array:
    """(3) for B pairs of policies [B, 2, C, U] in the games [C, U, U]."""
    payoff = np.einsum("bcu,cuv,bcv->bc", policies[:, 0], games, policies[:, 1]).mean(axis=1)
    if regularizer is Regularizer.NONE or alpha == 0:
        return payoff
    found: Array = payoff - alpha * divergences(policies, _prior(policies, regularizer)).mean(axis=2).sum(axis=1)
    return found


def exact_payoffs(payoffs: Payoffs, trained: Sequence[str], alpha: float) -> dict[str, dict[str, float]]:
    """Payoffs of the exact solutions, played greedily: regulariser to team to payoff.

    For a held-out team the mean of `payoffs_elsewhere` stands.
    """
    games = _matrices(payoffs, trained)
    found: dict[str, dict[str, float]] = {}
    for kind in Regularizer:
        greedy = solve(payoffs, trained, kind.value, alpha).greedy()
        elsewhere = {
            name: float(payoffs_elsewhere(np.array(game, dtype=np.float64), greedy).mean())
            for name, game in payoffs.items()
            if name not in trained
        }
        known = zip(trained, payoffs_in_training(games, greedy).tolist(), strict=True)
        found[kind.value] = {**dict(known), **elsewhere}
    return found


def _matrices(payoffs: Payoffs, teams: Sequence[str]) -> Array:
    return np.array([payoffs[name] for name in teams], dtype=np.float64)


def _prior(policies: Array, regularizer: Regularizer) -> Array:
    """What the policies are compared with: their average over the teams, or (entropy) the constant 1."""
    if regularizer is Regularizer.ENTROPY:
        return np.ones_like(policies)
    return np.broadcast_to(policies.mean(axis=2, keepdims=True), policies.shape)


def _ascend(games: Array, regularizer: Regularizer, alpha: float) -> Array:
    grid = np.array(list(product(_SHARES, repeat=2 * len(games)))).reshape(-1, 2, len(games))
    found = _climb(games, np.stack((grid, 1 - grid), axis=-1), regularizer, alpha, _ROUNDS)
    best = found[np.argmax(objective(games, found, regularizer, alpha))]
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
    # Each team is a problem of its own: the best joint action, the first one if several are equally good.
    policies = np.zeros((2, *games.shape[:2]))
    for team, game in enumerate(games):
        first, second = np.unravel_index(np.argmax(game), game.shape)
        policies[0, team, first] = policies[1, team, second] = 1.0
    return policies
