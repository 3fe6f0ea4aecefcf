"""Targets of joint policy evaluation (eq. 16) and of Q-learning."""

from __future__ import annotations

from enum import Enum

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class TargetKind(str, Enum):
    """How the next joint action enters the target of eq. (16)."""

    SAMPLED = "sampled"
    EXPECTED = "expected"


def greedy_actions(utilities: Float[Tensor, "*X U"], available: Bool[Tensor, "*X U"]) -> Int64[Tensor, "*X"]:
    """The available action of highest utility, of each agent on its own: with a monotonic mixer the best joint action.

    Examples:
        >>> greedy_actions(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([False, True, True])).item()
        2
    """
    return utilities.masked_fill(~available, -torch.inf).argmax(dim=-1)


def lambda_targets(
    reward: Float[Tensor, "T N"],
    next_value: Float[Tensor, "T N"],
    next_cost: Float[Tensor, "T N"],
    goes_on: Float[Tensor, "T N"],
    played: Float[Tensor, "T N"],
    gamma: float,
    td_lambda: float,
) -> Float[Tensor, "T N"]:
    """TD(lambda) targets of whole episodes; ``td_lambda=0`` is the one-step target of eq. (16).

    G_t = r_t + gamma * [(1 - lambda) * V_{t+1} + lambda * (G_{t+1} - c_{t+1})], where V already holds the expected
    regularisation cost c = alpha * sum_i E[penalty_i] and G does not. After the last played step G - c is V, and V is
    dropped where the episode ended.

    Args:
        reward: r_t.
        next_value: V_{t+1} = E[Q_jt] - c_{t+1} of the target networks.
        next_cost: c_{t+1}.
        goes_on: 1 where a value follows step t, 0 where the episode ended with it.
        played: 1 where step t was played; those that were not follow all that were.
        gamma: discount.
        td_lambda: 0 to 1.
    """
    one_step = reward + gamma * goes_on * next_value
    if td_lambda == 0.0:
        return one_step
    # TorchRL's td_lambda_return_estimate has no such cost. With the cost moved into its arguments the call is longer
    # than this loop, rounds differently and takes more than twice the time.
    targets = one_step.clone()
    for t in reversed(range(len(reward) - 1)):
        # What the rest of the episode says beyond V_{t+1}; nothing where step t+1 was not played.
        surplus = played[t + 1] * (targets[t + 1] - next_cost[t] - next_value[t])
        targets[t] += gamma * td_lambda * goes_on[t] * surplus
    return targets
