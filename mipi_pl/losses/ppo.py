"""Proximal policy optimization for a team (MAPPO): advantages, clipped surrogate, value loss.

T steps of N episodes stand by time; P are the played steps of all episodes, A the agents.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchrl.objectives.value.functional import generalized_advantage_estimate

from mipi_pl.distributed import joint_mean_of, moments_everywhere
from mipi_pl.losses.information import masked_mean

_EPSILON = 1e-5
"""Added to the standard deviation of advantages, as MAPPO's authors do."""


def advantages(
    reward: Float[Tensor, "T N"],
    value: Float[Tensor, "T N"],
    next_value: Float[Tensor, "T N"],
    goes_on: Float[Tensor, "T N"],
    played: Float[Tensor, "T N"],
    gamma: float,
    gae_lambda: float,
) -> tuple[Float[Tensor, "T N"], Float[Tensor, "T N"]]:
    """Advantages by GAE, and returns: advantages plus values.

    Nothing after an episode's last played step counts, but for the value there if the episode goes on (a time limit).

    Args:
        reward: r_t.
        value: V(s_t).
        next_value: V(s_{t+1}); of the observation after the last step too.
        goes_on: 1 where a value follows step t, 0 where the episode ended with it.
        played: 1 where step t was played; those that were not follow all that were.
        gamma: discount.
        gae_lambda: 0 for one-step advantages, 1 for Monte Carlo returns.
    """
    # TorchRL takes the product with a Python number in single precision.
    discount = torch.tensor(gamma, dtype=value.dtype, device=value.device)
    last = torch.cat((played[1:], torch.zeros_like(played[:1]))) == 0
    found: tuple[Tensor, Tensor] = generalized_advantage_estimate(
        discount, gae_lambda, value, next_value, reward, done=last, terminated=goes_on == 0
    )
    return found


def normalized(
    advantage: Float[Tensor, " P"], deciding: Bool[Tensor, "P A"]
) -> tuple[Float[Tensor, " P"], Float[Tensor, ""]]:
    """Advantages of mean 0 and deviation 1 over all decisions (a step counts once for each agent that takes one).

    Of several processes, over the decisions of all.

    Returns:
        The advantages and their deviation before.
    """
    mean, variance = moments_everywhere(advantage, times=deciding.sum(dim=-1))
    deviation = variance.sqrt()
    return (advantage - mean) / (deviation + _EPSILON), deviation


def surrogate_loss(
    log_prob: Float[Tensor, "P A"],
    old_log_prob: Float[Tensor, "P A"],
    advantage: Float[Tensor, " P"],
    deciding: Bool[Tensor, "P A"],
    clip: float,
) -> Float[Tensor, ""]:
    """Clipped surrogate: -E[min(ratio * advantage, clip(ratio) * advantage)] over the agents that decided."""
    ratio = (log_prob - old_log_prob).exp()
    gain = advantage.unsqueeze(-1)
    return -masked_mean(torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain), deciding)


def divergence(
    log_prob: Float[Tensor, "P A"], old_log_prob: Float[Tensor, "P A"], deciding: Bool[Tensor, "P A"], clip: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """How far the policy has moved: an estimate of KL(old, new), and the share of ratios beyond the clip range."""
    log_ratio = log_prob - old_log_prob
    ratio = log_ratio.exp()
    beyond = ((ratio - 1).abs() > clip).to(ratio)
    return masked_mean(ratio - 1 - log_ratio, deciding), masked_mean(beyond, deciding)


def value_loss(
    value: Float[Tensor, " P"],
    old_value: Float[Tensor, " P"],
    target: Float[Tensor, " P"],
    clip: float | None,
    huber_delta: float | None,
) -> Float[Tensor, ""]:
    """Half the squared error, linear beyond `huber_delta`; with `clip` the larger error of value and clipped value.

    Args:
        value: of the critic now.
        old_value: of the critic before the first epoch.
        target: returns.
        clip: how far a value may move before its clipped twin stands still; None clips nothing.
        huber_delta: where the loss becomes linear; None stays quadratic.
    """

    def loss_of(estimate: Tensor) -> Tensor:
        if huber_delta is None:
            return 0.5 * (target - estimate).square()
        return torch.nn.functional.huber_loss(estimate, target, reduction="none", delta=huber_delta)

    found = loss_of(value)
    if clip is not None:
        found = torch.maximum(found, loss_of(old_value + (value - old_value).clamp(-clip, clip)))
    return joint_mean_of(found)


def explained_variance(value: Float[Tensor, " P"], target: Float[Tensor, " P"]) -> Float[Tensor, ""]:
    """1 - Var[target - value] / Var[target], over all processes: 1 for a perfect critic, 0 for a constant."""
    _, unexplained = moments_everywhere(target - value)
    _, spread = moments_everywhere(target)
    return 1.0 - unexplained / spread.clamp(min=1e-8)
