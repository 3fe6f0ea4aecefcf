"""Targets and losses of joint policy evaluation (eq. 16)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def lambda_targets(
    reward: Float[Tensor, "N T"],
    next_value: Float[Tensor, "N T"],
    next_cost: Float[Tensor, "N T"],
    terminated: Bool[Tensor, "N T"],
    valid: Bool[Tensor, "N T"],
    gamma: float,
    td_lambda: float,
) -> Float[Tensor, "N T"]:
    """TD(lambda) targets of whole episodes; ``td_lambda=0`` is the one-step target of eq. (16).

    G_t = r_t + gamma * [(1 - lambda) * V_{t+1} + lambda * (G_{t+1} - c_{t+1})], where V already holds the expected
    regularisation cost c = alpha * sum_i E[penalty_i] and G does not. The recursion starts from V at the end of an
    episode that was cut and from 0 at one that terminated.

    Args:
        reward: r_t.
        next_value: V_{t+1} = E[Q_jt] - c_{t+1} of the target networks.
        next_cost: c_{t+1}.
        terminated: no value after step t.
        valid: step t was played; invalid steps follow all valid ones.
        gamma: discount.
        td_lambda: 0 to 1.
    """
    alive = (~terminated).to(reward.dtype)
    if td_lambda == 0.0:
        return reward + gamma * alive * next_value
    targets = torch.zeros_like(reward)
    onward = torch.zeros_like(reward[:, 0])  # G_{t+1} - c_{t+1}, where step t+1 was played
    goes_on = torch.zeros_like(valid[:, 0])
    for t in reversed(range(reward.shape[1])):
        mixed = torch.where(goes_on, torch.lerp(next_value[:, t], onward, td_lambda), next_value[:, t])
        targets[:, t] = reward[:, t] + gamma * alive[:, t] * mixed
        if t:
            onward = targets[:, t] - next_cost[:, t - 1]
            goes_on = valid[:, t]
    return targets

