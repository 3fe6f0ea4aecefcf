"""Losses of proximal policy optimization for a team (MAPPO): advantages, clipped surrogate, value loss.

T is the number of time steps, N of episodes, P of played steps in all episodes and A of agents.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchrl.objectives.value.functional import generalized_advantage_estimate

from mipi_pl.distributed import global_moments, joint_mean_of
from mipi_pl.losses.information import masked_mean

_EPSILON = 1e-5
"""Added to the standard deviation of the advantages, as in the MAPPO authors' code."""


def advantages(
    reward: Float[Tensor, "T N"],
    value: Float[Tensor, "T N"],
    next_value: Float[Tensor, "T N"],
    bootstraps: Float[Tensor, "T N"],
    played: Float[Tensor, "T N"],
    gamma: float,
    gae_lambda: float,
) -> tuple[Float[Tensor, "T N"], Float[Tensor, "T N"]]:
    """Compute advantages by GAE, and returns: advantages plus values.

    Steps after an episode's last played step are ignored, except for the value of the last observation if the last
    step bootstraps from it.

    Args:
        reward: r_t.
        value: V(s_t).
        next_value: V(s_{t+1}), including that of the last observation.
        bootstraps: 1 if the target of step t bootstraps from the next value, 0 if the episode ended with the step.
        played: 1 if step t was played; padding follows the played steps.
        gamma: discount.
        gae_lambda: 0 for one-step advantages, 1 for Monte Carlo returns.

    Returns:
        Advantages and returns.
    """
    # A tensor, because TorchRL computes the product with a Python number in single precision.
    discount = torch.tensor(gamma, dtype=value.dtype, device=value.device)
    last = torch.cat((played[1:], torch.zeros_like(played[:1]))) == 0
    estimates: tuple[Tensor, Tensor] = generalized_advantage_estimate(
        discount, gae_lambda, value, next_value, reward, done=last, terminated=bootstraps == 0
    )
    return estimates


def normalized(
    advantage: Float[Tensor, " P"], deciding: Bool[Tensor, "P A"]
) -> tuple[Float[Tensor, " P"], Float[Tensor, ""]]:
    """Normalise advantages to mean 0 and standard deviation 1 over all decisions of all processes.

    A step counts once for each agent that decides in it.

    Returns:
        The normalised advantages, and the standard deviation before normalisation.
    """
    mean, variance = global_moments(advantage, times=deciding.sum(dim=-1))
    std = variance.sqrt()
    return (advantage - mean) / (std + _EPSILON), std


def surrogate_loss(
    log_prob: Float[Tensor, "P A"],
    old_log_prob: Float[Tensor, "P A"],
    advantage: Float[Tensor, " P"],
    deciding: Bool[Tensor, "P A"],
    clip: float,
) -> Float[Tensor, ""]:
    """Clipped surrogate loss: -E[min(ratio * advantage, clip(ratio) * advantage)] over all decisions of agents."""
    ratio = (log_prob - old_log_prob).exp()
    gain = advantage.unsqueeze(-1)
    return -masked_mean(torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain), deciding)


def divergence(
    log_prob: Float[Tensor, "P A"], old_log_prob: Float[Tensor, "P A"], deciding: Bool[Tensor, "P A"], clip: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return an estimate of KL(old, new), and the share of probability ratios outside the clip range."""
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
    """Half the squared error, or the Huber loss; with `clip`, the larger of the losses of value and clipped value.

    Args:
        value: values of the present critic.
        old_value: values of the critic before the first epoch.
        target: returns.
        clip: bound on the distance between the clipped value and `old_value`; None for no clipping.
        huber_delta: error beyond which the loss is linear; None for a quadratic loss.
    """

    def loss_of(estimate: Tensor) -> Tensor:
        if huber_delta is None:
            return 0.5 * (target - estimate).square()
        return torch.nn.functional.huber_loss(estimate, target, reduction="none", delta=huber_delta)

    losses = loss_of(value)
    if clip is not None:
        losses = torch.maximum(losses, loss_of(old_value + (value - old_value).clamp(-clip, clip)))
    return joint_mean_of(losses)


def explained_variance(value: Float[Tensor, " P"], target: Float[Tensor, " P"]) -> Float[Tensor, ""]:
    """Return 1 - Var[target - value] / Var[target] over all processes: 1 for a perfect critic, 0 for a constant."""
    _, unexplained = global_moments(target - value)
    _, spread = global_moments(target)
    return 1.0 - unexplained / spread.clamp(min=1e-8)
