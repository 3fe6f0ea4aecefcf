"""What MIPI and MIPI-PPO share: the marginal policy, and the teams that it averages over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from torch import Tensor, nn

from mipi_pl.algorithms.batch import FULL, EpisodeBatch
from mipi_pl.losses import information as info
from mipi_pl.losses.information import Regularizer
from mipi_pl.utils.checks import choose
from models.packing import PackedSteps
from models.targets import Perceived


class ImaginedTeams(str, Enum):
    """Which teams the marginal averages over (eq. 12)."""

    IMAGINARY = "imaginary"
    ACTUAL = "actual"


@dataclass(frozen=True)
class TeamViews:
    """What the agents perceive in the full team and in the teams that the marginal averages over.

    Attributes:
        seen: all views, of which the full team is the first.
        number_of: the view that the marginal averages over in each alternation.
    """

    seen: Perceived
    number_of: Mapping[int, int]

    @property
    def full(self) -> Perceived:
        """In the full team."""
        return self.seen.view(FULL)

    def team(self, m: int) -> Perceived:
        """In the team of alternation `m`."""
        return self.seen.view(self.number_of[m])


class InformationCost:
    """Part of an algorithm whose policies may pay for information; beside `EntityAlgorithm` among its bases.

    Attributes:
        regularizer: what the reward is augmented with.
        marginal_teams: what the marginal averages over.
        marginal: the marginal policy; needed for mutual information only.
    """

    regularizer: Regularizer
    marginal_teams: ImaginedTeams
    marginal: nn.Module

    def _choose_cost(self, regularizer: str, marginal_teams: str) -> None:
        """Take the two options of the config.

        Raises:
            ValueError: for an unknown name.
        """
        self.regularizer = choose("algorithm.regularizer", regularizer, Regularizer)
        self.marginal_teams = choose("algorithm.marginal_teams", marginal_teams, ImaginedTeams)

    @property
    def _averages_imaginary_teams(self) -> bool:
        uses_marginal = self.regularizer is Regularizer.MUTUAL_INFORMATION
        return uses_marginal and self.marginal_teams is ImaginedTeams.IMAGINARY

    def _log_marginal(self, b: EpisodeBatch) -> Tensor | None:
        """Log pi_i(u | s_i^+) [L, A, U]; None where nothing is paid for information."""
        if self.regularizer is not Regularizer.MUTUAL_INFORMATION:
            return None
        return self._marginal_from(b, b.steps, None)[0]

    def _marginal_from(self, b: EpisodeBatch, steps: PackedSteps, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the marginal [L, A, U] and its recurrent states [N, A, H] after the last steps.

        Args:
            b: the batch.
            steps: its steps with the agents that are asked.
            state: [N, A, H] before the first steps; None for zeros.
        """
        logits, last = self.marginal(b.inputs[:, : b.acting.shape[1]], steps, b.inputs.shape[1], state)
        return info.log_policy(logits, b.available), last
