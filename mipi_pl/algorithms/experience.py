"""What a rollout was worth: the scale of its returns, advantages, and all that is remembered of it while one learns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchrl.modules import PopArtValueNorm

from mipi_pl import distributed
from mipi_pl.algorithms.batch import EpisodeBatch
from mipi_pl.losses import ppo


@dataclass
class Experience:
    """What was true when the L steps of a rollout were played; numbers of steps that were not played mean nothing.

    Attributes:
        log_prob: [L, A] of the actions taken.
        value: [L] as the critic gave it, normalised.
        advantage: [L] normalised over all decisions.
        returns: [L] in units of return.
    """

    log_prob: Tensor
    value: Tensor
    advantage: Tensor
    returns: Tensor

    def rows(self, rows: Tensor) -> Experience:
        """Some of the steps."""
        return Experience(**{name: x[rows] for name, x in vars(self).items()})


class ReturnScale(nn.Module):
    """From what the critic gives to units of return and back, by the running mean and deviation of the returns.

    Args:
        decay: of mean and deviation, with each rollout; None leaves returns as they are.
    """

    def __init__(self, decay: float | None) -> None:
        super().__init__()
        self.norm = None if decay is None else PopArtValueNorm(shape=1, beta=decay)

    def to_return(self, value: Tensor) -> Tensor:
        """Values [L] of the critic in units of return."""
        return value if self.norm is None else self.norm.denormalize(value.unsqueeze(-1)).squeeze(-1)

    def to_value(self, returns: Tensor) -> Tensor:
        """Returns [L] as the critic should give them."""
        return returns if self.norm is None else self.norm.normalize(returns.unsqueeze(-1)).squeeze(-1)

    def update(self, returns: Tensor) -> None:
        """Take the returns [P] of a rollout, of all processes, into mean and deviation."""
        if self.norm is None:
            return
        mean, variance = distributed.moments_everywhere(returns)
        deviation = variance.sqrt()
        # Two numbers with the mean and the deviation of all: the statistics know nothing else of them.
        self.norm.update(torch.stack((mean + deviation, mean - deviation)).unsqueeze(-1))


def advantages(
    b: EpisodeBatch, earned: Tensor, value: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """GAE and returns [L], zeros where nothing was played; a sequence that was cut goes on with the value there.

    Args:
        b: the rollout.
        earned: [L] reward less what was paid.
        value: [L] in units of return.
        gamma: discount per step.
        gae_lambda: see `mipi_pl.losses.ppo.advantages`.
    """
    now, after = b.played, b.played + 1
    reward, of_now, of_next, goes_on, played = (
        b.by_time(x)
        for x in (earned[now], value[now], value[after], (~b.ended[now]).to(value), torch.ones_like(value[now]))
    )
    advantage, returns = ppo.advantages(reward, of_now, of_next, goes_on, played, gamma, gae_lambda)
    return b.steps.pack(advantage), b.steps.pack(returns)
