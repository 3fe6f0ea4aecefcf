"""Exact multi-agent policy iteration with a fixed marginal distribution (section 4.2 of the paper).

Policies and marginals are [n, S, U], joint policies and joint values Q_jt are [S, J]; sizes are named as in `mmdp`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mipi_pl.theory.mmdp import MMDP, Array


@dataclass(frozen=True)
class Decomposition:
    """Additive fit (6): Q_jt(s, u) = sum_i parts[i](s, u_i) + bias(s) + error, where parts[i] is w_i(s) Q_i(s, u_i).

    Attributes:
        parts: [n, S, U], each with mean 0 over the actions.
        bias: [S].
        residual: largest absolute error; 0, up to rounding, if the joint value is additive.
    """

    parts: Array
    bias: Array
    residual: float


def joint_policy(mmdp: MMDP, policies: Array) -> Array:
    """Return the product of the agents' policies, [S, J]."""
    chosen = [policies[i][:, mmdp.actions[:, i]] for i in range(mmdp.n_agents)]
    joint: Array = np.prod(chosen, axis=0)
    return joint


def individual_policies(mmdp: MMDP, joint: Array) -> Array:
    """Return each agent's own policy [n, S, U] under a joint policy [S, J], which may be correlated."""
    policies = np.zeros((mmdp.n_agents, mmdp.n_states, mmdp.n_actions))
    for i in range(mmdp.n_agents):
        for u in range(mmdp.n_actions):
            policies[i, :, u] = joint[:, mmdp.actions[:, i] == u].sum(axis=1)
    return policies


def divergences(policies: Array, marginals: Array) -> Array:
    """Return KL(pi_i(.|s) || pi_i(.|s_i^+)) [n, S] in nats; infinite if the marginal lacks an action of the policy."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(policies > 0, policies * (np.log(policies) - np.log(marginals)), 0.0)
    total: Array = terms.sum(axis=-1)
    return total


def backup(mmdp: MMDP, q: Array, joint: Array, cost: Array) -> Array:
    """Apply the operator (5) to q [S, J]: r + gamma E[V(s')] with V = E[Q] - cost and cost [S] = alpha sum_i KL_i."""
    value = (joint * q).sum(axis=1) - cost
    backed: Array = mmdp.reward + mmdp.gamma * mmdp.transition @ value
    return backed


def evaluate(mmdp: MMDP, joint: Array, cost: Array) -> tuple[Array, Array]:
    """Return Q_jt [S, J] and V_jt [S] of a joint policy, by solving a linear system of S equations."""
    flow = np.einsum("sj,sjt->st", joint, mmdp.transition)
    gain = (joint * mmdp.reward).sum(axis=1) - cost
    value = np.linalg.solve(np.eye(mmdp.n_states) - mmdp.gamma * flow, gain)
    return mmdp.reward + mmdp.gamma * mmdp.transition @ value, value


def evaluate_policies(mmdp: MMDP, policies: Array, marginals: Array, alpha: float) -> tuple[Array, Array]:
    """Return Q_jt [S, J] and V_jt [S] of a product of policies."""
    return evaluate(mmdp, joint_policy(mmdp, policies), alpha * divergences(policies, marginals).sum(axis=0))


def decompose(mmdp: MMDP, q: Array) -> Decomposition:
    """Return the least-squares additive fit to q [S, J]; it is exact if an exact one exists."""
    bias = q.mean(axis=1)
    parts = np.zeros((mmdp.n_agents, mmdp.n_states, mmdp.n_actions))
    fit = np.repeat(bias[:, None], q.shape[1], axis=1)
    for i in range(mmdp.n_agents):
        for u in range(mmdp.n_actions):
            parts[i, :, u] = q[:, mmdp.actions[:, i] == u].mean(axis=1) - bias
        fit += parts[i][:, mmdp.actions[:, i]]
    return Decomposition(parts, bias, float(np.abs(q - fit).max()))


def improve(utilities: Array, marginals: Array, temperature: Array | float) -> Array:
    """Return the maximizer of (7) in closed form: marginal * exp(Q_i / temperature), normalized.

    Args:
        utilities: Q_i [n, S, U].
        marginals: [n, S, U].
        temperature: a positive number, or [n, S, 1].
    """
    scaled = utilities / temperature
    weights = marginals * np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    improved: Array = weights / weights.sum(axis=-1, keepdims=True)
    return improved


def improved_policies(
    mmdp: MMDP, q: Array, weights: Array, marginals: Array, alpha: float, *, divided: bool = True
) -> Array:
    """Improve all agents at once: decompose by (6), then maximize (7).

    Args:
        mmdp: the process.
        q: Q_jt [S, J] of the old policies.
        weights: w_i(s) [n, S], positive; Q_i is parts / w_i.
        marginals: [n, S, U].
        alpha: temperature of the objective.
        divided: use the temperature alpha / w_i for agent i, which the proof of lemma 2 needs; else alpha, as in (7).

    Returns:
        The new policies [n, S, U].
    """
    w = weights[..., None]
    utilities = decompose(mmdp, q).parts / w
    return improve(utilities, marginals, alpha / w if divided else alpha)


def best_response(mmdp: MMDP, q: Array, policies: Array, marginals: Array, alpha: float, agent: int) -> Array:
    """Return the policies [n, S, U] after improving one agent with the others fixed; this needs no decomposition."""
    others = policies.copy()
    others[agent] = 1.0
    weight = joint_policy(mmdp, others)
    utility = np.zeros((mmdp.n_states, mmdp.n_actions))
    for u in range(mmdp.n_actions):
        chosen = mmdp.actions[:, agent] == u
        utility[:, u] = (weight * q)[:, chosen].sum(axis=1)
    improved = policies.copy()
    improved[agent] = improve(utility[None], marginals[agent][None], alpha)[0]
    return improved


@dataclass(frozen=True)
class Iteration:
    """Result of a policy iteration.

    Attributes:
        policies: the last policies [n, S, U].
        values: Q_jt [S, J] of every iterate, from the initial policies to the last.
        converged: whether the last iteration changed Q_jt by less than the tolerance.
    """

    policies: Array
    values: list[Array]
    converged: bool


def iterate(
    mmdp: MMDP,
    start: Array,
    weights: Array,
    marginals: Array,
    alpha: float,
    *,
    divided: bool = True,
    steps: int = 500,
    tolerance: float = 1e-12,
) -> Iteration:
    """Alternate evaluation and improvement of all agents, from the policies `start` [n, S, U].

    The other arguments are those of `improved_policies`.

    Args:
        mmdp: the process.
        start: initial policies [n, S, U].
        weights: w_i(s) [n, S], positive.
        marginals: [n, S, U].
        alpha: temperature of the objective.
        divided: see `improved_policies`.
        steps: maximal number of iterations.
        tolerance: largest change of Q_jt that counts as converged.
    """
    policies, values = start, [evaluate_policies(mmdp, start, marginals, alpha)[0]]
    for _ in range(steps):
        policies = improved_policies(mmdp, values[-1], weights, marginals, alpha, divided=divided)
        values.append(evaluate_policies(mmdp, policies, marginals, alpha)[0])
        if np.abs(values[-1] - values[-2]).max() < tolerance:
            return Iteration(policies, values, True)
    return Iteration(policies, values, False)


def iterate_in_turn(
    mmdp: MMDP, start: Array, marginals: Array, alpha: float, *, steps: int = 500, tolerance: float = 1e-12
) -> Iteration:
    """Alternate evaluation and the best response of one agent at a time; Q_jt never falls, in any process.

    Args:
        mmdp: the process.
        start: initial policies [n, S, U].
        marginals: [n, S, U].
        alpha: temperature of the objective.
        steps: maximal number of rounds over all agents.
        tolerance: largest change of Q_jt in a round that counts as converged.
    """
    policies, values = start, [evaluate_policies(mmdp, start, marginals, alpha)[0]]
    for _ in range(steps):
        before = values[-1]
        for agent in range(mmdp.n_agents):
            policies = best_response(mmdp, values[-1], policies, marginals, alpha, agent)
            values.append(evaluate_policies(mmdp, policies, marginals, alpha)[0])
        if np.abs(values[-1] - before).max() < tolerance:
            return Iteration(policies, values, True)
    return Iteration(policies, values, False)
