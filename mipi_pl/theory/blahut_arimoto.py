"""Policy improvement with a marginal that follows the policy: Blahut-Arimoto (section 4.3 of the paper, theorem 2).

All functions consider one agent in one own state s_i^+, with X teams s_i^* of probability rho [X], utilities
Q_i [X, U] and policies [X, U].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mipi_pl.theory.mmdp import Array
from mipi_pl.theory.policy_iteration import divergences


def objective(utilities: Array, shares: Array, policy: Array, alpha: float, marginal: Array | None = None) -> float:
    """Return objective (10), averaged over the teams: sum_x rho(x) [E_pi Q - alpha KL(pi || marginal)].

    Args:
        utilities: Q_i [X, U].
        shares: rho [X], probabilities of the teams.
        policy: [X, U].
        alpha: temperature.
        marginal: [U]; None uses the average of the policy over the teams (11).
    """
    prior = shares @ policy if marginal is None else marginal
    gain = (policy * utilities).sum(axis=1) - alpha * divergences(policy, np.broadcast_to(prior, policy.shape))
    return float(shares @ gain)


@dataclass(frozen=True)
class Alternation:
    """Iterates of the alternation of (12) and (13).

    Attributes:
        policies: pi^0 to pi^M, each [X, U].
        marginals: marginals (12) of pi^0 to pi^(M-1), each [U].
        objectives: objectives of pi^0 to pi^M, each under its own marginal.
        doubt: upper bound on how far the optimum lies above the last objective.
    """

    policies: list[Array]
    marginals: list[Array]
    objectives: list[float]
    doubt: float


def alternate(utilities: Array, shares: Array, start: Array, alpha: float, iterations: int) -> Alternation:
    """Alternate (12) and (13) M = `iterations` times from the policy `start` [X, U].

    The bound `doubt` holds for any marginal m: the optimum is at most
    J(m) + alpha max_u log sum_x rho(x) exp(Q/alpha) / Z_x(m). Here J(m) is the best objective with this marginal,
    alpha sum_x rho(x) log Z_x(m), and the sum over x is the factor by which the next alternation would multiply the
    probability of action u.
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
    bound = shares @ (utilities.max(axis=1) + alpha * np.log(normaliser)) + alpha * np.log(factors.max())
    objectives = [objective(utilities, shares, policy, alpha) for policy in policies]
    return Alternation(policies, marginals, objectives, float(bound) - objectives[-1])


def solve(utilities: Array, shares: Array, alpha: float, *, precision: float = 1e-11) -> tuple[Array, Array, float]:
    """Return the optimal policy [X, U], its marginal [U] and its objective.

    The alternation starts from a uniform marginal and stops when the objective is proven to be within `precision` of
    the optimum.

    Raises:
        ArithmeticError: if `precision` is not reached within 200,000 alternations.
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
