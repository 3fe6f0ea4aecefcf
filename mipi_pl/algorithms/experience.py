"""Rollout statistics for policy optimization: return normalisation, advantages, and log-probabilities when played."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchrl.modules import PopArtValueNorm

from mipi_pl import distributed
from mipi_pl.algorithms.batch import EpisodeBatch
from mipi_pl.losses import ppo

LARGEST_DECAY = 0.99999
"""Largest decay of the statistics of returns: PopArtValueNorm corrects the bias of their start no further."""


@dataclass
class Experience:
    """Quantities of the L steps of a rollout, computed before learning changes any network.

    Rows of steps that were not played are undefined.

    Attributes:
        log_prob: [L, A], log-probabilities of the actions taken.
        value: [L], output of the critic: normalised values.
        advantage: [L], advantages, normalised over all decisions.
        returns: [L], returns, not normalised.
    """

    log_prob: Tensor
    value: Tensor
    advantage: Tensor
    returns: Tensor

    def rows(self, rows: Tensor) -> Experience:
        """Select some of the steps."""
        return Experience(**{name: x[rows] for name, x in vars(self).items()})


class ReturnScale(nn.Module):
    """Converts between normalised values and returns with the running mean and standard deviation of the returns.

    Args:
        decay: decay of mean and standard deviation per rollout, at most `LARGEST_DECAY`; None for no normalisation.
    """

    def __init__(self, decay: float | None) -> None:
        super().__init__()
        self.norm = None if decay is None else PopArtValueNorm(shape=1, beta=decay)

    def to_return(self, value: Tensor) -> Tensor:
        """Convert normalised values [L] of the critic to units of return."""
        return value if self.norm is None else self.norm.denormalize(value.unsqueeze(-1)).squeeze(-1)

    def to_value(self, returns: Tensor) -> Tensor:
        """Convert returns [L] to normalised values, the targets of the critic."""
        return returns if self.norm is None else self.norm.normalize(returns.unsqueeze(-1)).squeeze(-1)

    def update(self, returns: Tensor) -> None:
        """Update mean and standard deviation with the returns [P] of a rollout, over all processes."""
        if self.norm is None:
            return
        mean, variance = distributed.global_moments(returns)
        deviation = variance.sqrt()
        # PopArtValueNorm uses only mean and deviation, so two values that have them stand for all returns.
        self.norm.update(torch.stack((mean + deviation, mean - deviation)).unsqueeze(-1))


def advantages(
    b: EpisodeBatch, earned: Tensor, value: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Compute GAE advantages and returns, each [L]; zeros for steps that were not played.

    A sequence that the end of the rollout cut off bootstraps from the value of its last observation.

    Args:
        b: the rollout.
        earned: [L], reward minus information cost.
        value: [L], values in units of return.
        gamma: discount per step.
        gae_lambda: see `mipi_pl.losses.ppo.advantages`.
    """
    now, after = b.played, b.played + 1
    reward, value_now, value_next, bootstraps, played = b.on_grid(earned[now], value[now], value[after])
    advantage, returns = ppo.advantages(reward, value_now, value_next, bootstraps, played, gamma, gae_lambda)
    return b.steps.pack(advantage), b.steps.pack(returns)
