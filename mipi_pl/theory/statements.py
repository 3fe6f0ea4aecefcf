"""Checks of lemma 1, lemma 2 and theorem 1 on random processes: policy iteration with a fixed marginal."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np

from mipi_pl.theory.findings import Finding, Instance, distance, draw, excess, largest_violation
from mipi_pl.theory.mmdp import Array, random_policies
from mipi_pl.theory.policy_iteration import (
    backup,
    best_response,
    divergences,
    evaluate,
    evaluate_policies,
    improved_policies,
    individual_policies,
    iterate,
    iterate_in_turn,
    joint_policy,
)

_MAX_DETERMINISTIC = 256
"""Largest number of deterministic policies that is enumerated; if there are more, some are drawn."""


def lemma_1(seeds: range) -> list[Finding]:
    """Check that joint policy evaluation converges to the joint value."""
    violations = [_evaluation(draw(seed, additive=False)) for seed in seeds]
    contraction, limit, printed = zip(*violations, strict=True)
    return [
        Finding.from_violations("Lemma 1", "(5) contracts by gamma", contraction, True),
        Finding.from_violations("Lemma 1", "its iterates reach the exact solution", limit, True),
        Finding.from_violations("Proof of lemma 1", "so they do with A.1's reward", printed, False),
    ]


def _evaluation(i: Instance) -> tuple[float, float, float]:
    """Return the violations of the contraction, of the limit, and of the limit with the reward of appendix A.1."""
    m, joint = i.mmdp, joint_policy(i.mmdp, i.start)
    cost = i.alpha * divergences(i.start, i.marginals).sum(axis=0)
    one, other = (10 * i.rng.standard_normal(m.reward.shape) for _ in range(2))
    gap = np.abs(one - other).max()
    shrunk = np.abs(backup(m, one, joint, cost) - backup(m, other, joint, cost)).max()
    exact, _ = evaluate(m, joint, cost)
    q = one
    for _ in range(int(np.ceil(np.log(1e-13) / np.log(m.gamma)))):
        q = backup(m, q, joint, cost)
    # The reward of appendix A.1 does not discount the information cost of s', so V loses cost / gamma instead of cost.
    printed = m.reward - m.transition @ cost
    flow = np.einsum("sj,sjt->st", joint, m.transition)
    undiscounted = printed + m.gamma * m.transition @ np.linalg.solve(
        np.eye(m.n_states) - m.gamma * flow, (joint * printed).sum(axis=1)
    )
    return largest_violation((shrunk - m.gamma * gap) / gap), distance(q, exact), distance(undiscounted, exact)


def lemma_2(seeds: range) -> list[Finding]:
    """Check that improvement lowers the joint value nowhere."""
    additive, general = ([draw(seed, additive=kind) for seed in seeds] for kind in (True, False))
    return [
        Finding.from_violations("Lemma 2", "(6) holds, weights 1", [_loss(i, i.ones) for i in additive], True),
        Finding.from_violations(
            "Lemma 2", "weights w, temperature alpha/w", [_loss(i, i.weights) for i in additive], True
        ),
        Finding.from_violations(
            "Lemma 2", "weights w, temperature alpha (7)", [_loss(i, i.weights, divided=False) for i in additive], False
        ),
        Finding.from_violations("Lemma 2", "(6) is the best fit only", [_loss(i, i.ones) for i in general], False),
        Finding.from_violations(
            "Lemma 2", "without (6), one agent at a time", [_loss_in_turn(i) for i in general], True
        ),
    ]


def _loss(i: Instance, weights: Array, *, divided: bool = True) -> float:
    # A wrong improvement loses most near the optimum, so it is also checked from policies that were improved before.
    worst = 0.0
    for improvements in (0, 1, 4):
        old = i.after(improvements, weights)
        q, _ = evaluate_policies(i.mmdp, old, i.marginals, i.alpha)
        new = improved_policies(i.mmdp, q, weights, i.marginals, i.alpha, divided=divided)
        worst = max(worst, excess(evaluate_policies(i.mmdp, new, i.marginals, i.alpha)[0], q))
    return worst


def _loss_in_turn(i: Instance) -> float:
    worst, policies = 0.0, i.start
    for agent in list(range(i.mmdp.n_agents)) * 3:
        q, _ = evaluate_policies(i.mmdp, policies, i.marginals, i.alpha)
        policies = best_response(i.mmdp, q, policies, i.marginals, i.alpha, agent)
        worst = max(worst, excess(evaluate_policies(i.mmdp, policies, i.marginals, i.alpha)[0], q))
    return worst


def theorem_1(seeds: range) -> list[Finding]:
    """Check that the alternation converges to policies that no other policy beats."""
    additive, general = ([draw(seed, additive=kind) for seed in seeds] for kind in (True, False))
    products, correlated, speed = zip(*[_optimality(i) for i in additive], strict=True)
    return [
        Finding.from_violations("Theorem 1", "(6), alpha/w: best of the products", products, True),
        Finding.from_violations("Theorem 1", "(6), alpha/w: best of all joint ones", correlated, True),
        Finding.from_violations("Theorem 1", "(6), alpha/w: gap shrinks by gamma", speed, True),
        Finding.from_violations(
            "Theorem 1", "weights w, temperature alpha (7)", [_undivided_gap(i) for i in additive], False
        ),
        Finding.from_violations(
            "Theorem 1", "without (6), one agent at a time", [_other_limits(i) for i in general], False
        ),
    ]


def _optimality(i: Instance) -> tuple[float, float, float]:
    """Return by how much products of policies, correlated policies, and the rate gamma of the gap are violated.

    All are infinite if the iteration has not converged.
    """
    m = i.mmdp
    result = iterate(m, i.start, i.weights, i.marginals, i.alpha)
    if not result.converged:
        return np.inf, np.inf, np.inf
    best = result.values[-1]
    products = max(
        excess(best, evaluate_policies(m, policies, i.marginals, i.alpha)[0])
        for policies in _rivals(i, result.policies)
    )
    correlated = 0.0
    for concentration in (0.05, 0.3, 1.0) * 5:
        joint = i.rng.dirichlet(np.full(m.reward.shape[1], concentration), size=m.n_states)
        cost = i.alpha * divergences(individual_policies(m, joint), i.marginals).sum(axis=0)
        correlated = max(correlated, excess(best, evaluate(m, joint, cost)[0]))
    gaps = [np.abs(q - best).max() for q in result.values]
    size = max(1.0, float(np.abs(best).max()))
    speed = largest_violation([(after - m.gamma * before) / size for before, after in pairwise(gaps)])
    return products, correlated, speed


def _rivals(i: Instance, near: Array) -> list[Array]:
    """Return random policies of varying sharpness, deterministic policies, and small changes of the policies `near`."""
    n, states, u = near.shape
    rivals = [random_policies(i.mmdp, i.rng, sharpness) for sharpness in (0.3, 1.0, 5.0, 50.0) * 5]
    rivals += [(1 - t) * near + t * other for t in (1e-3, 0.1) for other in rivals[:5]]
    enumerable = u ** (n * states) <= _MAX_DETERMINISTIC
    choices = product(range(u), repeat=n * states) if enumerable else i.rng.integers(u, size=(40, n * states))
    return rivals + [np.eye(u)[np.array(choice).reshape(n, states)] for choice in choices]


def _undivided_gap(i: Instance) -> float:
    best = iterate(i.mmdp, i.start, i.weights, i.marginals, i.alpha).values[-1]
    undivided = iterate(i.mmdp, i.start, i.weights, i.marginals, i.alpha, divided=False).values[-1]
    return excess(undivided, best)


def _other_limits(i: Instance) -> float:
    """Return how far the limit from one start lies below the limit from another."""
    starts = [i.start, *(random_policies(i.mmdp, i.rng, 5.0) for _ in range(5))]
    limits = [iterate_in_turn(i.mmdp, start, i.marginals, i.alpha, steps=200).values[-1] for start in starts]
    return max(excess(limits[0], other) for other in limits[1:])
