"""Checks of theorem 2 on random utilities and of (8)-(9) on random processes: the marginal follows the policy."""

from __future__ import annotations

import numpy as np

from mipi_pl.theory.blahut_arimoto import alternate, objective, solve
from mipi_pl.theory.findings import Finding, Instance, draw, excess, largest_violation
from mipi_pl.theory.mmdp import Array
from mipi_pl.theory.policy_iteration import decompose, evaluate_policies

ALTERNATIONS = 100
"""Largest number M of alternations for which the rate is checked."""
_PRECISION = 1e-9
"""Precision of the optimum used for comparison, which is never above the true optimum."""
_ROUNDS = 20
"""Rounds of evaluation and alternation when the marginal follows the policy."""


def theorem_2(seeds: range) -> list[Finding]:
    """Check that (12)-(13) converge at the rate O(1/M) from any start."""
    cases = [random_problem(seed) for seed in seeds]
    return [
        Finding.from_violations(
            "Theorem 2", "gap at M <= alpha KL(m*, m^0) / M", [_beyond_rate(*case) for case in cases], True
        ),
        Finding.from_violations("Theorem 2", "objective never falls", [_fall(*case) for case in cases], True),
        Finding.from_violations(
            "Theorem 2", "start lacks an action", [_gap_without_action(*case) for case in cases], False
        ),
        Finding.from_violations(
            "Theorem 2", "state and teams weighted differently", [_gap_of_shares(seed) for seed in seeds], False
        ),
    ]


def following_marginal(seeds: range) -> Finding:
    """Check whether policy iteration stays monotone when the marginal follows the policy.

    The paper does not claim this.
    """
    violations = [_fall_of_values(draw(seed, additive=True)) for seed in seeds]
    return Finding.from_violations("(8)-(9)", "values never fall, marginal follows", violations, False)


def bound(optimum: Array, first: Array, alpha: float) -> float:
    """Return the constant of theorem 2, alpha KL(m* || m^0), where m^0 is the marginal of the start.

    It bounds M times the gap after M alternations: each alternation lowers KL(m* || m) by at least the gap over alpha,
    and the gap never grows. The paper refers to the literature for this constant.

    Args:
        optimum: marginal m* of the optimum [U].
        first: marginal m^0 of the start [U].
        alpha: temperature.
    """
    used = optimum > 1e-12
    return alpha * float((optimum[used] * np.log(optimum[used] / first[used])).sum())


def random_problem(seed: int) -> tuple[Array, Array, float, Array]:
    """Draw utilities [X, U], probabilities of the teams [X], a temperature, and a policy [X, U] to start from."""
    rng = np.random.default_rng([seed, 2])
    teams, actions = int(rng.integers(1, 6)), int(rng.integers(2, 5))
    start = rng.dirichlet(np.full(actions, rng.choice([0.2, 1.0, 5.0])), size=teams)
    start = (start + 1e-9) / (start + 1e-9).sum(axis=1, keepdims=True)
    shares = rng.dirichlet(np.ones(teams))
    return rng.standard_normal((teams, actions)), shares, float(np.exp(rng.uniform(-1.6, 0.7))), start


def _beyond_rate(utilities: Array, shares: Array, alpha: float, start: Array) -> float:
    _, marginal, best = solve(utilities, shares, alpha, precision=_PRECISION)
    result = alternate(utilities, shares, start, alpha, ALTERNATIONS)
    limit = bound(marginal, result.marginals[0], alpha)
    return largest_violation([best - value - limit / m for m, value in enumerate(result.objectives[1:], 1)])


def _fall(utilities: Array, shares: Array, alpha: float, start: Array) -> float:
    values = np.array(alternate(utilities, shares, start, alpha, ALTERNATIONS).objectives)
    return largest_violation(values[:-1] - values[1:])


def _gap_without_action(utilities: Array, shares: Array, alpha: float, start: Array) -> float:
    policy, _, best = solve(utilities, shares, alpha, precision=_PRECISION)
    lacking = start.copy()
    lacking[:, int(np.argmax(shares @ policy))] = 0.0
    lacking /= lacking.sum(axis=1, keepdims=True)
    return largest_violation(best - alternate(utilities, shares, lacking, alpha, 10 * ALTERNATIONS).objectives[-1])


def _gap_of_shares(seed: int) -> float:
    rng = np.random.default_rng([seed, 3])
    utilities, (actual, imagined) = rng.standard_normal((2, 2)), rng.uniform(0.1, 0.9, size=2)
    return gap_of_shares(utilities, np.array([actual, 1 - actual]), np.array([imagined, 1 - imagined]), 0.5)


def gap_of_shares(utilities: Array, actual: Array, imagined: Array, alpha: float) -> float:
    """Return how far (12)-(13), with `imagined` shares in (11), stay below the best of (10) with the `actual` shares.

    There are two teams and two actions. The best is searched on a grid, so the result is a lower bound.
    """
    limit = alternate(utilities, imagined, np.full((2, 2), 0.5), alpha, 20 * ALTERNATIONS).policies[-1]
    reached = objective(utilities, actual, limit, alpha, imagined @ limit)
    p = np.linspace(0.001, 0.999, 250)
    grid = np.stack(np.meshgrid(p, p, indexing="ij"), axis=-1)
    policies = np.stack((grid, 1 - grid), axis=-1)  # [P, P, X, U]
    prior = np.einsum("x,pqxu->pqu", imagined, policies)[:, :, None]
    gains = (policies * (utilities - alpha * np.log(policies / prior))).sum(axis=-1)
    return largest_violation(gains @ actual - reached)


def _fall_of_values(i: Instance) -> float:
    """Return the largest fall of Q_jt when exact evaluation alternates with three alternations of (12)-(13).

    States with equal s_i^+ have equal weights in the marginal.
    """
    policies, before, worst = i.start, None, 0.0
    for _ in range(_ROUNDS):
        q, _ = evaluate_policies(i.mmdp, policies, averages(i, policies), i.alpha)
        worst = worst if before is None else max(worst, excess(q, before))
        before, parts = q, decompose(i.mmdp, q).parts
        policies = policies.copy()
        for agent, own in enumerate(i.mmdp.own):
            for part in np.unique(own):
                rows = own == part
                shares = np.full(int(rows.sum()), 1 / rows.sum())
                policies[agent, rows] = alternate(
                    parts[agent, rows], shares, policies[agent, rows], i.alpha, 3
                ).policies[-1]
    return worst


def averages(i: Instance, policies: Array) -> Array:
    """Return the marginals [n, S, U] of the policies: (9) with equal weights."""
    marginals = np.empty_like(policies)
    for agent, own in enumerate(i.mmdp.own):
        for part in np.unique(own):
            marginals[agent, own == part] = policies[agent, own == part].mean(axis=0)
    return marginals
