"""Information regularisers and the losses of the policy and the marginal policy (eqs. 17, 18).

X stands for any leading axes (episodes, steps, agents); U is the number of actions.
"""

from __future__ import annotations

from enum import Enum

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mipi_pl.distributed import joint_mean, joint_mean_of
from mipi_pl.models.precision import full_precision

_UNAVAILABLE = -1e9
"""Log-probability that replaces log 0; finite, so that 0 * log 0 is 0."""

_NEGLIGIBLE = -80.0
"""Log-probability of about 1e-35; terms of smaller probability are negligible in an expectation."""

_COLDEST = 1e-4
"""Temperature that replaces 0, in units of return."""


class Divergence(str, Enum):
    """Direction of the KL divergence between the policy and the exact optimum of the improvement step."""

    REVERSE = "reverse"
    FORWARD = "forward"


class Regularizer(str, Enum):
    """Regularizer that augments the reward."""

    MUTUAL_INFORMATION = "mutual_information"
    ENTROPY = "entropy"
    NONE = "none"


class Part(str, Enum):
    """Part of a decision, by the chain rule: the kind of action, or the target given the kind."""

    KIND = "kind"
    TARGET = "target"


class Temperature(str, Enum):
    """Choice of the temperature in the policy loss (18)."""

    CONSTANT = "constant"
    BY_WEIGHT = "by_weight"


def log_policy(logits: Float[Tensor, "*X U"], available: Bool[Tensor, "*X U"]) -> Float[Tensor, "*X U"]:
    """Return the log-probabilities of the available actions; about -1e9 for the others."""
    # Move the actions to the first axis: on a CPU, PyTorch's softmax over a short last axis is ten times slower.
    masked = logits.masked_fill(~available, _UNAVAILABLE).movedim(-1, 0).contiguous()
    return masked.log_softmax(dim=0).movedim(0, -1)


def softened(
    log_p: Float[Tensor, "*X U"], available: Bool[Tensor, "*X U"], uniform_share: float
) -> Float[Tensor, "*X U"]:
    """Mix a policy with the uniform distribution over the available actions: (1 - share) p + share * uniform.

    These are the epsilon-soft policies of the paper's second footnote. Their probability ratios are bounded.

    Args:
        log_p: log-probabilities of the policy.
        available: available actions.
        uniform_share: share of the uniform distribution, 0 to 1.

    Returns:
        Log-probabilities of the mixture; about -1e9 for unavailable actions.

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
    """Return the penalty of each action, which alpha multiplies (eq. 3 and the ablations of table 2).

    It is log pi(u|s)/pi(u|s+) for mutual information, log pi(u|s) for entropy and 0 without a regularizer.

    Raises:
        ValueError: if `regularizer` is mutual information and `log_marginal` is None.
    """
    if regularizer is Regularizer.NONE:
        return torch.zeros_like(log_pi)
    if regularizer is Regularizer.ENTROPY:
        return log_pi
    if log_marginal is None:
        raise ValueError(
            "the mutual-information regulariser needs the marginal's log-probabilities, got None: pass log_marginal"
        )
    return log_pi - log_marginal


def log_kinds(log_p: Float[Tensor, "*X U"], kinds: Int64[Tensor, " U"]) -> Float[Tensor, "*X U"]:
    """Return the log-probability that an action is of the same kind as u, for each action u.

    Args:
        log_p: log-probabilities of the actions.
        kinds: kind of each action, such as "attack" for the attacks on all targets.

    Examples:
        >>> log_kinds(torch.tensor([0.5, 0.2, 0.3]).log(), torch.tensor([0, 1, 1])).exp()
        tensor([0.5000, 0.5000, 0.5000])
    """
    with full_precision(log_p):
        probability = log_p.clamp(min=_NEGLIGIBLE).exp() @ torch.nn.functional.one_hot(kinds).to(log_p.dtype)
    return probability.clamp(min=torch.finfo(log_p.dtype).tiny).log()[..., kinds]


def expectation(log_pi: Float[Tensor, "*X U"], values: Float[Tensor, "*X U"]) -> Float[Tensor, "*X"]:
    """Return E_pi[values], the exact sum over the actions."""
    # The clamp avoids underflow, where exp is ten times slower on a CPU. The clamped terms are negligible.
    return (log_pi.clamp(min=_NEGLIGIBLE).exp() * values).sum(dim=-1)


def of_action(values: Float[Tensor, "*X U"], action: Int64[Tensor, "*X"]) -> Float[Tensor, "*X"]:
    """Return the values of the given actions."""
    return values.gather(-1, action.unsqueeze(-1)).squeeze(-1)


def entropy(log_pi: Float[Tensor, "*X U"]) -> Float[Tensor, "*X"]:
    """Return the entropy in nats."""
    return -expectation(log_pi, log_pi)


def masked_mean(values: Float[Tensor, "*X"], mask: Bool[Tensor, "*X"]) -> Float[Tensor, ""]:
    """Return the mean over the elements where `mask` is True; 0 if there are none.

    With several processes, it is this process's share of the joint mean, see `mipi_pl.distributed.joint_mean`.
    """
    return joint_mean(torch.where(mask, values, 0.0).sum(), mask.sum())


def mean_square(error: Float[Tensor, " L"]) -> Float[Tensor, ""]:
    """Return the mean squared TD error over the played steps (eq. 16; the paper's formula lacks the square).

    With several processes, it is this process's share of the joint mean, see `mipi_pl.distributed.joint_mean`.
    """
    return joint_mean_of(error.square())


def marginal_loss(
    log_marginal: Float[Tensor, "*X U"], log_within: Float[Tensor, "*X U"], acting: Bool[Tensor, "*X"]
) -> Float[Tensor, ""]:
    """Cross-entropy of the marginal policy relative to the policy in imaginary teams (eq. 17).

    The marginal policy should average the policy over these teams. The paper maximises the likelihood of sampled
    actions; this loss uses the exact expectation over the discrete actions.
    """
    return -masked_mean(expectation(log_within, log_marginal), acting)


def improved_log_policy(
    log_marginal: Float[Tensor, "*X U"] | None,
    utilities: Float[Tensor, "*X U"],
    alpha: float | Float[Tensor, "*X 1"],
    available: Bool[Tensor, "*X U"],
) -> Float[Tensor, "*X U"]:
    """Return the exact optimum of the improvement step (eq. 13): pi ~ marginal * exp(Q_i / alpha).

    Unavailable actions get no probability. Without a marginal, the optimum is the Boltzmann policy of the entropy
    regulariser. As alpha approaches 0, it approaches the greedy policy.
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
    """KL form of the improvement step: E_pi[alpha_i * penalty - Q_i] with fixed utilities and marginal (eq. 18)."""
    return masked_mean(expectation(log_pi, alpha * cost - utilities.detach()), acting)


def projection_loss(
    log_pi: Float[Tensor, "*X U"], log_improved: Float[Tensor, "*X U"], acting: Bool[Tensor, "*X"]
) -> Float[Tensor, ""]:
    """Cross-entropy of the policy relative to the fixed exact optimum (13): forward KL, where (18) is reverse KL.

    Both directions have their minimum at the optimum. The forward KL is convex in the logits, and its gradient does not
    vanish when the policy has become nearly deterministic on a wrong action.
    """
    return -masked_mean(expectation(log_improved.detach(), log_pi), acting)
