"""The information regularisers and the losses of policy and marginal (eqs. 17, 18).

Letters: the leading axes are any (episodes, steps, agents); U is the number of actions.
"""

from __future__ import annotations

from enum import Enum

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mipi_pl.distributed import joint_mean, joint_mean_of

_UNAVAILABLE = -1e9
"""Log-probability that stands for log 0: finite, so that 0 * log 0 is 0."""

_NEGLIGIBLE = -80.0
"""Log-probability of about 1e-35, next to which nothing that is weighted with it matters."""

_COLDEST = 1e-4
"""Temperature that stands for 0, in units of return."""


class Divergence(str, Enum):
    """Direction of the KL divergence between the policy and the exact optimum of the improvement step."""

    REVERSE = "reverse"
    FORWARD = "forward"


class Regularizer(str, Enum):
    """What the reward is augmented with."""

    MUTUAL_INFORMATION = "mutual_information"
    ENTROPY = "entropy"
    NONE = "none"


class Temperature(str, Enum):
    """Temperature of the policy loss (18)."""

    CONSTANT = "constant"
    BY_WEIGHT = "by_weight"


def log_policy(logits: Float[Tensor, "*X U"], available: Bool[Tensor, "*X U"]) -> Float[Tensor, "*X U"]:
    """Log-probabilities of the available actions; about -1e9 for the others."""
    # Actions first: over a short last axis the softmax of PyTorch is ten times slower on a CPU.
    masked = logits.masked_fill(~available, _UNAVAILABLE).movedim(-1, 0).contiguous()
    return masked.log_softmax(dim=0).movedim(0, -1)


def softened(
    log_p: Float[Tensor, "*X U"], available: Bool[Tensor, "*X U"], uniform_share: float
) -> Float[Tensor, "*X U"]:
    """Log-probabilities of (1 - share) p + share * uniform over the available actions; about -1e9 for the others.

    The epsilon-soft policies of the paper's second footnote, whose ratios are bounded.

    Examples:
        >>> available = torch.tensor([True, True, False])
        >>> softened(torch.tensor([0.0, -1e9, -1e9]), available, 0.2).exp()
        tensor([0.9000, 0.1000, 0.0000])
    """
    if uniform_share == 0.0:
        return log_p
    uniform = available / available.sum(dim=-1, keepdim=True).clamp(min=1)
    mixed = torch.lerp(log_p.clamp(min=_NEGLIGIBLE).exp(), uniform.to(log_p.dtype), uniform_share)
    return torch.where(available, mixed, 1.0).log().masked_fill(~available, _UNAVAILABLE)


def penalty(
    regularizer: Regularizer, log_pi: Float[Tensor, "*X U"], log_marginal: Float[Tensor, "*X U"] | None
) -> Float[Tensor, "*X U"]:
    """What alpha multiplies: log pi(u|s)/pi(u|s+), or log pi(u|s), or 0 (eq. 3 and the ablations of table 2).

    Raises:
        ValueError: if mutual information is asked for without a marginal.
    """
    if regularizer is Regularizer.NONE:
        return torch.zeros_like(log_pi)
    if regularizer is Regularizer.ENTROPY:
        return log_pi
    if log_marginal is None:
        raise ValueError("the mutual-information regulariser needs the marginal's log-probabilities, got None")
    return log_pi - log_marginal


def expectation(log_pi: Float[Tensor, "*X U"], values: Float[Tensor, "*X U"]) -> Float[Tensor, "*X"]:
    """E_pi[values], exact over the actions."""
    # Nothing is lost below the bound, and exp is ten times slower on a CPU where it underflows.
    return (log_pi.clamp(min=_NEGLIGIBLE).exp() * values).sum(dim=-1)


def of_action(values: Float[Tensor, "*X U"], action: Int64[Tensor, "*X"]) -> Float[Tensor, "*X"]:
    """The value of one action each."""
    return values.gather(-1, action.unsqueeze(-1)).squeeze(-1)


def entropy(log_pi: Float[Tensor, "*X U"]) -> Float[Tensor, "*X"]:
    """Entropy in nats."""
    return -expectation(log_pi, log_pi)


def masked_mean(values: Float[Tensor, "*X"], mask: Bool[Tensor, "*X"]) -> Float[Tensor, ""]:
    """Mean over the places where `mask` is True; 0 if there are none. Of several processes: see `ranks.joint_mean`."""
    return joint_mean(torch.where(mask, values, 0.0).sum(), mask.sum())


def mean_square(error: Float[Tensor, " L"]) -> Float[Tensor, ""]:
    """Mean squared TD error over the played steps (eq. 16; the paper's formula lost its square); as `masked_mean`."""
    return joint_mean_of(error.square())


def marginal_loss(
    log_marginal: Float[Tensor, "*X U"], log_within: Float[Tensor, "*X U"], acting: Bool[Tensor, "*X"]
) -> Float[Tensor, ""]:
    """Cross-entropy of the marginal to the policy under imaginary teams, which it should average (eq. 17).

    The paper draws actions and maximises their likelihood; over discrete actions the expectation is exact.
    """
    return -masked_mean(expectation(log_within, log_marginal), acting)


def improved_log_policy(
    log_marginal: Float[Tensor, "*X U"] | None,
    utilities: Float[Tensor, "*X U"],
    alpha: float | Float[Tensor, "*X 1"],
    available: Bool[Tensor, "*X U"],
) -> Float[Tensor, "*X U"]:
    """The exact optimum of the improvement step: pi ~ marginal * exp(Q_i / alpha) over the available actions (eq. 13).

    Without a marginal it is the Boltzmann policy of the entropy regulariser; as alpha falls to 0, the greedy policy.
    """
    prior = 0.0 if log_marginal is None else log_marginal
    temperature = torch.as_tensor(alpha, dtype=utilities.dtype, device=utilities.device).clamp(min=_COLDEST)
    return log_policy(prior + utilities / temperature, available)


def policy_loss(
    log_pi: Float[Tensor, "*X U"],
    cost: Float[Tensor, "*X U"],
    utilities: Float[Tensor, "*X U"],
    alpha: float | Float[Tensor, "*X 1"],
    acting: Bool[Tensor, "*X"],
) -> Float[Tensor, ""]:
    """KL form of the improvement step: E_pi[alpha_i * penalty - Q_i], utilities and marginal held fixed (eq. 18)."""
    return masked_mean(expectation(log_pi, alpha * cost - utilities.detach()), acting)


def projection_loss(
    log_pi: Float[Tensor, "*X U"], log_improved: Float[Tensor, "*X U"], acting: Bool[Tensor, "*X"]
) -> Float[Tensor, ""]:
    """Cross-entropy of the policy to the exact optimum (13), held fixed: the other direction of the KL of (18).

    Both directions have the optimum itself as their minimum. This one is convex in the logits and does not vanish where
    the policy has hardened on a wrong action.
    """
    return -masked_mean(expectation(log_improved.detach(), log_pi), acting)
