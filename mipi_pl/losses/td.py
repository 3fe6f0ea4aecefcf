"""TD targets of joint policy evaluation (eq. 16) and of Q-learning."""

from __future__ import annotations

from enum import Enum

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class TargetKind(str, Enum):
    """Treatment of the next joint action in the target of eq. (16)."""

    SAMPLED = "sampled"
    EXPECTED = "expected"


def greedy_actions(utilities: Float[Tensor, "*X U"], available: Bool[Tensor, "*X U"]) -> Int64[Tensor, "*X"]:
    """Return each agent's available action of highest utility; with a monotonic mixer, this is the best joint action.

    Examples:
        >>> greedy_actions(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([False, True, True])).item()
        2
    """
    return utilities.masked_fill(~available, -torch.inf).argmax(dim=-1)


def lambda_targets(
    reward: Float[Tensor, "T N"],
    next_value: Float[Tensor, "T N"],
    next_cost: Float[Tensor, "T N"],
    bootstraps: Float[Tensor, "T N"],
    played: Float[Tensor, "T N"],
    gamma: float,
    td_lambda: float,
) -> Float[Tensor, "T N"]:
    """Compute the TD(lambda) targets of whole episodes; ``td_lambda=0`` gives the one-step target of eq. (16).

    G_t = r_t + gamma * [(1 - lambda) * V_{t+1} + lambda * (G_{t+1} - c_{t+1})]

    V includes the expected regularisation cost c = alpha * sum_i E[penalty_i]; G does not. After the last played step,
    G - c is replaced by V. Where the episode ended, V is dropped.

    Args:
        reward: r_t.
        next_value: V_{t+1} = E[Q_jt] - c_{t+1} of the target networks.
        next_cost: c_{t+1}.
        bootstraps: 1 if the target of step t bootstraps from the next value, 0 if the episode ended with the step.
        played: 1 if step t was played; padding follows the played steps.
        gamma: discount.
        td_lambda: lambda, 0 to 1.
    """
    one_step = reward + gamma * bootstraps * next_value
    if td_lambda == 0.0:
        return one_step
    # TorchRL's td_lambda_return_estimate does not support such a cost. Folding the cost into its arguments takes more
    # code than this loop and more than twice the time, and rounds differently.
    targets = one_step.clone()
    for t in reversed(range(len(reward) - 1)):
        # Correction of V_{t+1} by the rest of the episode; 0 if step t+1 was not played.
        surplus = played[t + 1] * (targets[t + 1] - next_cost[t] - next_value[t])
        targets[t] += gamma * td_lambda * bootstraps[t] * surplus
    return targets
