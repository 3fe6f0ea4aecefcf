"""Improvement under a marginal that follows the policy: Blahut-Arimoto (section 4.3 of the paper, theorem 2).

One agent with one own state s_i^+: X teams s_i^* with shares rho [X], utilities Q_i [X, U], policies [X, U].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mipi_pl.theory.mmdp import Array
from mipi_pl.theory.policy_iteration import divergences


def objective(utilities: Array, shares: Array, policy: Array, alpha: float, marginal: Array | None = None) -> float:
    """(10), averaged over the teams: sum_x rho(x) [E_pi Q - alpha KL(pi || marginal)].

    Args:
        utilities: [X, U].
        shares: rho [X].
        policy: [X, U].
        alpha: temperature.
        marginal: [U]; None takes the policy's own average (11).
    """
    prior = shares @ policy if marginal is None else marginal
    gain = (policy * utilities).sum(axis=1) - alpha * divergences(policy, np.broadcast_to(prior, policy.shape))
    return float(shares @ gain)


@dataclass(frozen=True)
class Alternation:
    """What (12) and (13) find.

    Attributes:
        policies: pi^0 .. pi^M, each [X, U].
        marginals: those that (12) makes of pi^0 .. pi^(M-1), each [U].
        objectives: of pi^0 .. pi^M, each under its own marginal.
        doubt: by how much the optimum can lie above the last objective at most.
    """

    policies: list[Array]
    marginals: list[Array]
    objectives: list[float]
    doubt: float


def alternate(utilities: Array, shares: Array, start: Array, alpha: float, iterations: int) -> Alternation:
    """M alternations of (12) and (13).

    For any marginal m the optimum is at most J(m) + alpha max_u log sum_x rho(x) exp(Q/alpha) / Z_x(m). J(m) is the
    best objective at this marginal, alpha sum_x rho(x) log Z_x(m), and the sum is the factor by which the next
    alternation would raise the share of action u.
    """
    kernel = _kernel(utilities, alpha)
    policies, marginals = [start], []
    for _ in range(iterations):
        marginal = shares @ policies[-1]
        weights = marginal * kernel
        policies.append(weights / weights.sum(axis=1, keepdims=True))
        marginals.append(marginal)
    marginal = shares @ policies[-1]
    normaliser = kernel @ marginal
    factors = shares @ (kernel / normaliser[:, None])
    most = shares @ (utilities.max(axis=1) + alpha * np.log(normaliser)) + alpha * np.log(factors.max())
    found = [objective(utilities, shares, policy, alpha) for policy in policies]
    return Alternation(policies, marginals, found, float(most) - found[-1])


def solve(utilities: Array, shares: Array, alpha: float, *, precision: float = 1e-11) -> tuple[Array, Array, float]:
    """Optimal policy [X, U], its marginal [U] and the objective, from a uniform start until `precision` is certain.

    Raises:
        ArithmeticError: if it is not reached within 200,000 alternations.
    """
    kernel, marginal = _kernel(utilities, alpha), np.full(utilities.shape[1], 1 / utilities.shape[1])
    for _ in range(200_000):
        factors = shares @ (kernel / (kernel @ marginal)[:, None])
        if alpha * np.log(factors.max()) <= precision:
            weights = marginal * kernel
            policy = weights / weights.sum(axis=1, keepdims=True)
            return policy, shares @ policy, objective(utilities, shares, policy, alpha)
        marginal = marginal * factors
    raise ArithmeticError(f"Blahut-Arimoto did not reach a precision of {precision} within 200,000 alternations")


def _kernel(utilities: Array, alpha: float) -> Array:
    kernel: Array = np.exp((utilities - utilities.max(axis=1, keepdims=True)) / alpha)
    return kernel
