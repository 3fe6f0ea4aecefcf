"""Mixin of MIPI and MIPI-PPO: the information regularizer, the marginal policy and the teams that it averages over."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor, nn

from mipi_pl.algorithms.base import EntityAlgorithm, Metrics
from mipi_pl.algorithms.batch import EpisodeBatch
from mipi_pl.losses import information as info
from mipi_pl.losses.information import Regularizer
from mipi_pl.models.packing import PackedSteps
from mipi_pl.utils.checks import choose


class ImaginedTeams(str, Enum):
    """Teams that the marginal policy averages over (eq. 12)."""

    IMAGINARY = "imaginary"
    ACTUAL = "actual"


class InformationCost(EntityAlgorithm):
    """Mixin for an algorithm with an information cost in its objective.

    Attributes:
        regularizer: regularizer that augments the reward.
        marginal_teams: teams that the marginal policy averages over.
        marginal: the marginal policy; used for mutual information only.
    """

    without_partitions: tuple[str, ...] = ("algorithm.marginal_teams=actual",)
    regularizer: Regularizer
    marginal_teams: ImaginedTeams
    marginal: nn.Module

    def _choose_cost(self, regularizer: str, marginal_teams: str) -> None:
        """Set `regularizer` and `marginal_teams` from the names in the config.

        Raises:
            ValueError: for an unknown name.
        """
        self.regularizer = choose("algorithm.regularizer", regularizer, Regularizer)
        self.marginal_teams = choose("algorithm.marginal_teams", marginal_teams, ImaginedTeams)

    @property
    def trained_marginal(self) -> nn.Module | None:
        """The marginal policy; None unless the regularizer is mutual information."""
        return self.marginal if self.regularizer is Regularizer.MUTUAL_INFORMATION else None

    @property
    def _averages_imaginary_teams(self) -> bool:
        uses_marginal = self.regularizer is Regularizer.MUTUAL_INFORMATION
        return uses_marginal and self.marginal_teams is ImaginedTeams.IMAGINARY

    def _log_marginal(self, b: EpisodeBatch) -> Tensor | None:
        """Return log pi_i(u | s_i^+) [L, A, U]; None unless the regularizer is mutual information."""
        if self.regularizer is not Regularizer.MUTUAL_INFORMATION:
            return None
        return self._marginal_from(b, b.steps, None)[0]

    def _marginal_from(self, b: EpisodeBatch, steps: PackedSteps, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the marginal's log-probabilities [L, A, U] and its last recurrent states [N, A, hidden].

        Args:
            b: the batch.
            steps: steps of the batch with the agents to compute.
            state: [N, A, hidden], recurrent states before the first steps; None for zeros.
        """
        logits, last = self.marginal(b.inputs[:, : b.acting.shape[1]], steps, b.inputs.shape[1], state)
        return info.log_policy(logits, b.available), last

    def _fit_marginal(self, b: EpisodeBatch, log_marginal: Tensor, log_team: Tensor) -> Metrics:
        """Take one step of the marginal policy on (17).

        Args:
            b: the batch.
            log_marginal: [L, A, U], log-probabilities of the marginal policy.
            log_team: [L, A, U], log-probabilities of the policy in the teams that it is fitted to, without gradient.
        """
        loss = info.marginal_loss(log_marginal, log_team, b.deciding)
        return {"loss/marginal": loss.detach(), "gradient_norm/marginal": self.descend("marginal", loss)}

    @torch.no_grad()
    def _information_metrics(self, b: EpisodeBatch, log_pi: Tensor, log_marginal: Tensor | None) -> Metrics:
        """Return the policy's entropy and, with a marginal policy, its divergence from it: means over all decisions."""
        metrics = {"policy/entropy": info.masked_mean(info.entropy(log_pi), b.deciding)}
        if log_marginal is not None:
            divergence = info.expectation(log_pi, log_pi - log_marginal)
            metrics["policy/kl_to_marginal"] = info.masked_mean(divergence, b.deciding)
        return metrics
