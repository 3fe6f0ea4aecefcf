"""Masks, targets and losses of section 4 of the paper and of REFIL as loops over lists."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def log_probabilities(logits: Tensor, available: Sequence[bool]) -> dict[int, Tensor]:
    """log pi of each available action; the others have probability 0 and are left out."""
    allowed = [u for u in range(len(logits)) if available[u]]
    top = max(float(logits[u].detach()) for u in allowed)
    total = sum(torch.exp(logits[u] - top) for u in allowed)
    return {u: logits[u] - top - torch.log(total) for u in allowed}


def softened(log_p: dict[int, Tensor] | None, share: float) -> dict[int, Tensor] | None:
    """Log of (1 - share) p + share / number of available actions."""
    if log_p is None:
        return None
    return {u: torch.log((1 - share) * torch.exp(value) + share / len(log_p)) for u, value in log_p.items()}


def penalty(regularizer: str, log_pi: dict[int, Tensor], log_marginal: dict[int, Tensor] | None) -> dict[int, Tensor]:
    """What alpha multiplies, per action."""
    if regularizer == "mutual_information":
        return {u: log_pi[u] - log_marginal[u] for u in log_pi}
    if regularizer == "entropy":
        return dict(log_pi)
    return {u: torch.zeros_like(value) for u, value in log_pi.items()}


def expectation(log_pi: dict[int, Tensor], values: dict[int, Tensor] | Tensor) -> Tensor:
    """sum_u pi(u) values(u)."""
    return sum(torch.exp(log_pi[u]) * values[u] for u in log_pi)


def exact_optimum(
    regularizer: str, log_marginal: dict[int, Tensor] | None, utilities: Tensor, alpha: float, available: Sequence[bool]
) -> dict[int, float]:
    """Equation (13): the marginal (or nothing) tilted by exp(Q / alpha), over the available actions; or greedy."""
    allowed = [u for u in range(len(utilities)) if available[u]]
    if regularizer == "none":
        best = max(allowed, key=lambda u: float(utilities[u]))
        return {u: float(u == best) for u in allowed}
    top = max(float(utilities[u]) for u in allowed)
    prior = {u: math.exp(float(log_marginal[u])) if log_marginal else 1.0 for u in allowed}
    shares = {u: prior[u] * math.exp((float(utilities[u]) - top) / alpha) for u in allowed}
    return {u: share / sum(shares.values()) for u, share in shares.items()}


def restrict(mask: Sequence[bool], agent: int, groups: Sequence[bool], within: bool) -> list[bool]:
    """A row of a mask, restricted to the agent's own group or to the other one."""
    return [bool(seen) and (bool(groups[j]) == bool(groups[agent])) == within for j, seen in enumerate(mask)]


def one_step_targets(
    rewards: Sequence[float], next_values: Sequence[float], goes_on: Sequence[bool], gamma: float
) -> list[float]:
    """r_t + gamma V_{t+1} of one episode."""
    return [r + (gamma * v if on else 0.0) for r, v, on in zip(rewards, next_values, goes_on, strict=True)]


def lambda_targets(
    rewards: Sequence[float],
    next_values: Sequence[float],
    next_costs: Sequence[float],
    goes_on: Sequence[bool],
    gamma: float,
    td_lambda: float,
) -> list[float]:
    """TD(lambda) of one episode as the weighted sum of its n-step targets.

    The n-step target adds n rewards, all but the first less the cost of the choice that earned it, and the value after.
    """
    targets = []
    for t in range(len(rewards)):
        n_step = []
        for n in range(1, len(rewards) - t + 1):
            total, discount = 0.0, 1.0
            for k in range(n):
                total = total + discount * (rewards[t + k] - (next_costs[t + k - 1] if k else 0.0))
                discount *= gamma
            if goes_on[t + n - 1]:
                total = total + discount * next_values[t + n - 1]
            n_step.append(total)
        mixed, weight = 0.0, 1.0
        for target in n_step[:-1]:
            mixed = mixed + weight * (1 - td_lambda) * target
            weight *= td_lambda
        targets.append(mixed + weight * n_step[-1])
    return targets
