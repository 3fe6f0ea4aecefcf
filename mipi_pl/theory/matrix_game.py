"""The exact solution of (3) under its constraint (4) for the matrix game of section 5.1.

Each agent's own part s_i^+ is its index and s_i^- the team, so the constraint makes the marginal of an agent the mean
of its policies over the training teams. Letters: C training teams, U actions, policies [2, C, U].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from mipi_pl.checks import choose, require
from mipi_pl.losses.information import Regularizer
from mipi_pl.theory.mmdp import Array
from mipi_pl.theory.policy_iteration import divergences, improve

_SHARES = np.linspace(0.05, 0.95, 5)
"""Probabilities of action 0 from which the ascent starts, for each agent and team."""
_ROUNDS = 400
"""Of coordinate ascent; the ascent goes on where that was not enough."""


@dataclass(frozen=True)
class Solution:
    """What is best in training, and what follows for teams that were never seen.

    Attributes:
        policies: pi_i(u|s) [2, C, U].
        objective: (3).
        training: expected payoff in each training team [C].
        transfer: for each held-out team, the payoffs [C, C] if agent 1 takes it for training team j and agent 2
            for training team k. They differ only as far as the policies depend on the team.
    """

    policies: Array
    objective: float
    training: Array
    transfer: dict[str, Array]


def solve(
    payoffs: Mapping[str, Sequence[Sequence[float]]], trained: Sequence[str], regularizer: str, alpha: float
) -> Solution:
    """Maximise (3), with the policies' own averages as marginals, over all products of policies.

    Coordinate ascent with exact maximisers (each agent's policy given the other's and the marginal, and the marginals)
    from a grid of starts; without a regulariser, all deterministic policies.

    Args:
        payoffs: team to matrix [U, U], rows for agent 1.
        trained: teams of training, equally likely; the others are held out.
        regularizer: ``mutual_information``, ``entropy`` or ``none``.
        alpha: temperature, positive unless there is no regulariser.

    Raises:
        ValueError: for an unknown regulariser or a temperature that is not positive.
    """
    kind = choose("regularizer", regularizer, Regularizer)
    games = np.array([payoffs[name] for name in trained], dtype=np.float64)
    if kind is Regularizer.NONE:
        policies = _best_deterministic(games)
    else:
        require("alpha", alpha, 0, above=True)
        policies = _ascend(games, kind, alpha)
    held_out = {name: np.array(payoffs[name], dtype=np.float64) for name in payoffs if name not in trained}
    return Solution(
        policies,
        float(objective(games, policies[None], kind, alpha)[0]),
        np.einsum("cu,cuv,cv->c", policies[0], games, policies[1]),
        {name: np.einsum("ju,uv,kv->jk", policies[0], game, policies[1]) for name, game in held_out.items()},
    )


def objective(games: Array, policies: Array, regularizer: Regularizer, alpha: float) -> Array:
    """(3) for B pairs of policies [B, 2, C, U] in the games [C, U, U]."""
    payoff = np.einsum("bcu,cuv,bcv->bc", policies[:, 0], games, policies[:, 1]).mean(axis=1)
    if regularizer is Regularizer.NONE:
        return payoff
    found: Array = payoff - alpha * divergences(policies, _prior(policies, regularizer)).mean(axis=2).sum(axis=1)
    return found


def references(
    payoffs: Mapping[str, Sequence[Sequence[float]]], trained: Sequence[str], alpha: float
) -> dict[str, float]:
    """Exact payoffs in the one held-out team, for a picture: a name for each line.

    Where a solution depends on the team, what it does in another one is open: the mean over the ways in which
    the agents may take it for a training team stands for it.

    Raises:
        ValueError: unless exactly one team is held out.
    """
    held_out = [name for name in payoffs if name not in trained]
    if len(held_out) != 1:
        raise ValueError(f"expected one held-out team in payoffs, got {held_out}")
    labels = {Regularizer.MUTUAL_INFORMATION: "information", Regularizer.ENTROPY: "entropy", Regularizer.NONE: "reward"}
    return {
        f"exact, {label}": float(solve(payoffs, trained, kind.value, alpha).transfer[held_out[0]].mean())
        for kind, label in labels.items()
    }


def _prior(policies: Array, regularizer: Regularizer) -> Array:
    """What the policies are compared with: their average over the teams, or (entropy) the constant 1."""
    if regularizer is Regularizer.ENTROPY:
        return np.ones_like(policies)
    return np.broadcast_to(policies.mean(axis=2, keepdims=True), policies.shape)


def _ascend(games: Array, regularizer: Regularizer, alpha: float) -> Array:
    grid = np.array(list(product(_SHARES, repeat=2 * len(games)))).reshape(-1, 2, len(games))
    found = _climb(games, np.stack((grid, 1 - grid), axis=-1), regularizer, alpha, _ROUNDS)
    best = found[np.argmax(objective(games, found, regularizer, alpha))]
    return _climb(games, best[None], regularizer, alpha, 50 * _ROUNDS)[0]


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
