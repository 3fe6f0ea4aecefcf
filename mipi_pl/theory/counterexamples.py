"""Small games in which a statement fails as printed: for each statement the worst game of a small grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np

from mipi_pl.theory.blahut_arimoto import alternate, solve
from mipi_pl.theory.mmdp import MMDP, Array
from mipi_pl.theory.policy_iteration import divergences, evaluate_policies, improved_policies, iterate_in_turn
from mipi_pl.theory.statements_alternation import gap_of_shares

_GAMMA = 0.5
_PAYOFFS = (0.0, 1.0, 2.0, 3.0)
_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Counterexample:
    """A game in which a statement fails.

    Attributes:
        statement: name of the statement, as in the table of `mipi theory`.
        game: description of the game.
        seen: description of the failure.
        violation: size of the violation, in units of return.
    """

    statement: str
    game: str
    seen: str
    violation: float


def counterexamples() -> list[Counterexample]:
    """Return all counterexamples; the computation is deterministic."""
    return [_printed_reward(), _undivided(), _not_additive(), _two_limits(), _lost_action(), _other_shares()]


def one_state(payoffs: Array, n_agents: int) -> MMDP:
    """Return the one-state game with these payoffs [J], repeated forever at discount 1/2."""
    joint = len(payoffs)
    return MMDP(
        reward=payoffs[None].astype(np.float64),
        transition=np.ones((1, joint, 1)),
        own=np.zeros((n_agents, 1), dtype=np.int64),
        gamma=_GAMMA,
        n_actions=round(joint ** (1 / n_agents)),
    )


def _printed_reward() -> Counterexample:
    game, policy, uniform = one_state(np.zeros(2), 1), np.array([[[1.0, 0.0]]]), np.full((1, 1, 2), 0.5)
    exact = float(evaluate_policies(game, policy, uniform, 1.0)[0][0, 0])
    printed = -float(divergences(policy, uniform).sum()) / (1 - _GAMMA)
    return Counterexample(
        "Proof of lemma 1",
        "one agent, one state, payoffs 0; uniform marginal, policy (1, 0); alpha 1",
        f"Q is {exact:.3f}; with the augmented reward of A.1, which lacks gamma, {printed:.3f}",
        abs(printed - exact),
    )


def _undivided() -> Counterexample:
    def loss(case: tuple[float, float, float, float]) -> float:
        first, second, weight, share = case
        old = np.array([[[share, 1 - share]]])
        before, after, _ = _step(np.array([first, second]), old, np.array([[weight]]), 1.0, divided=False)
        return before - after

    case = max(product(_PAYOFFS, _PAYOFFS, (0.5, 2.0), _SHARES), key=loss)
    first, second, weight, share = case
    old = np.array([[[share, 1 - share]]])
    before, after, new = _step(np.array([first, second]), old, np.array([[weight]]), 1.0, divided=False)
    return Counterexample(
        "Lemma 2, temperature alpha",
        f"one agent, one state, payoffs {_pair(first, second)}; weight {weight:g}, uniform marginal, alpha 1",
        f"policy {_pair(*old[0, 0])} improves to {_pair(*new[0, 0])}: V falls from {before:.3f} to {after:.3f}",
        before - after,
    )


def _not_additive() -> Counterexample:
    def loss(case: tuple[tuple[float, ...], float, float]) -> float:
        before, after, _ = _step(np.array(case[0]), _pairs(*case[1:]), np.ones((2, 1)), 0.25)
        return before - after

    payoffs, one, other = max(product(product(_PAYOFFS, repeat=4), _SHARES, _SHARES), key=loss)
    before, after, new = _step(np.array(payoffs), _pairs(one, other), np.ones((2, 1)), 0.25)
    return Counterexample(
        "Lemma 2, (6) is the best fit",
        f"two agents, one state, payoffs {_matrix(payoffs)}; uniform marginals, alpha 0.25",
        f"policies {_both(_pairs(one, other))} improve to {_both(new)}: V falls from {before:.3f} to {after:.3f}",
        before - after,
    )


def _two_limits() -> Counterexample:
    starts = [_pairs(share, share) for share in (0.1, 0.9)]
    uniform = np.full((2, 1, 2), 0.5)

    def limits(payoffs: Iterable[float]) -> list[tuple[float, Array]]:
        game = one_state(np.array(list(payoffs)), 2)
        policies = [iterate_in_turn(game, start, uniform, 0.25, steps=60).policies for start in starts]
        return [(_value(game, limit, uniform, 0.25), limit) for limit in policies]

    payoffs = max(product(_PAYOFFS, repeat=4), key=lambda case: float(np.ptp([value for value, _ in limits(case)])))
    (low, worse), (high, better) = sorted(limits(payoffs), key=lambda limit: limit[0])
    return Counterexample(
        "Theorem 1 without (6)",
        f"two agents, one state, payoffs {_matrix(payoffs)}; uniform marginals, alpha 0.25; one agent at a time",
        f"one start ends at {_both(worse)} with V {low:.3f}, another at {_both(better)} with V {high:.3f}",
        high - low,
    )


def _lost_action() -> Counterexample:
    utilities, shares = np.array([[0.0, 1.0]]), np.ones(1)
    stuck = alternate(utilities, shares, np.array([[1.0, 0.0]]), 1.0, 1000)
    best = solve(utilities, shares, 1.0)[2]
    return Counterexample(
        "Theorem 2, start lacks an action",
        "one team, utilities (0, 1), alpha 1, start (1, 0)",
        f"after 1000 alternations the policy is {_pair(*stuck.policies[-1][0])} and the objective "
        f"{stuck.objectives[-1]:.3f}; the best is {best:.3f}",
        best - stuck.objectives[-1],
    )


def _other_shares() -> Counterexample:
    actual, alpha = np.array([0.5, 0.5]), 0.5

    def gap(case: tuple[tuple[float, ...], float]) -> float:
        return gap_of_shares(np.array(case[0]).reshape(2, 2), actual, np.array([case[1], 1 - case[1]]), alpha)

    # One utility of each team is 0 without loss of generality, because only differences matter.
    cases = [((0.0, a, 0.0, b), share) for a, b in product((-1.0, 1.0, 2.0), repeat=2) for share in (0.1, 0.3)]
    values, share = max(cases, key=gap)
    return Counterexample(
        "Theorem 2, other weights",
        f"two teams, utilities {_matrix(values)} (a row for each), equally likely, alpha 0.5; "
        f"(11) weighs them {_pair(share, 1 - share)}",
        f"the limit of (12)-(13) misses the best of (10) under (11) by at least {gap((values, share)):.3f}",
        gap((values, share)),
    )


def _step(
    payoffs: Array, old: Array, weights: Array, alpha: float, *, divided: bool = True
) -> tuple[float, float, Array]:
    """Return the values before and after an improvement of all agents, and the new policies; uniform marginals."""
    game, uniform = one_state(payoffs, len(old)), np.full_like(old, 0.5)
    q, value = evaluate_policies(game, old, uniform, alpha)
    new = improved_policies(game, q, weights, uniform, alpha, divided=divided)
    return float(value[0]), _value(game, new, uniform, alpha), new


def _value(game: MMDP, policies: Array, marginals: Array, alpha: float) -> float:
    return float(evaluate_policies(game, policies, marginals, alpha)[1][0])


def _pairs(first: float, second: float) -> Array:
    """Return policies [2, 1, 2] of two agents, given their probabilities of action 0."""
    return np.array([[[first, 1 - first]], [[second, 1 - second]]])


def _pair(one: float, other: float) -> str:
    return f"({_short(one)}, {_short(other)})"


def _both(policies: Array) -> str:
    return " and ".join(_pair(*policy[0]) for policy in policies)


def _matrix(numbers: Iterable[float]) -> str:
    a, b, c, d = (_short(number) for number in numbers)
    return f"[[{a}, {b}], [{c}, {d}]]"


def _short(number: float) -> str:
    text = f"{number:.3f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
