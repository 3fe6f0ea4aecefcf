"""MIPI-PPO: MAPPO whose reward is reduced by the information cost of MIPI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mipi_pl.algorithms.base import Metrics, OptimizerFactory, require_options
from mipi_pl.algorithms.batch import EpisodeBatch
from mipi_pl.algorithms.experience import Experience
from mipi_pl.algorithms.information_cost import InformationCost
from mipi_pl.algorithms.mappo import MAPPO
from mipi_pl.algorithms.rollout_memory import States
from mipi_pl.losses import information as info
from mipi_pl.losses.information import Part, Regularizer
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.checks import choose


class MIPIPPO(InformationCost, MAPPO):
    """MAPPO on the augmented reward (3): r - alpha sum_i log pi_i(u_i|s) / pi_i(u_i|s_i+).

    The marginal policy pi_i(u_i|s_i+) learns by (17) on imaginary teams, as in MIPI.

    Args:
        spec: sizes of the environment.
        marginal: factory of the marginal policy, for ``mutual_information`` only; takes n_features, n_kinds and
            targets.
        marginal_optimizer: factory of the optimizer of the marginal policy.
        regularizer: regularizer that augments the reward: ``mutual_information``, ``entropy`` or ``none``.
        alpha: weight of the regularizer, in units of return.
        priced: part of a decision that the regularizer counts: ``kind`` for the choice among the fixed actions and the
            kinds of target actions, ``target`` for the choice of a target of that kind; None for the whole.
        marginal_teams: ``imaginary`` averages the policy over random sub-groups, ``actual`` over the actual teams.
        marginal_epochs: number of epochs, from the first, in which the marginal policy learns; None for all.
        options: the other arguments of `MAPPO`.

    Raises:
        ValueError: as `MAPPO`; for mutual information without a marginal policy; or for `priced` without a regularizer
            or without actions that have a target.
    """

    optimizer_names: tuple[str, ...] = ("policy", "critic", "marginal")

    def __init__(
        self,
        spec: EntitySpec,
        marginal: Callable[..., nn.Module] | None = None,
        marginal_optimizer: OptimizerFactory | None = None,
        regularizer: str = "mutual_information",
        alpha: float = 0.03,
        priced: str | None = None,
        marginal_teams: str = "imaginary",
        marginal_epochs: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(spec, **options)
        require_options(0, alpha=alpha)
        self._choose_cost(regularizer, marginal_teams)
        self.priced = self._choose_part(priced)
        self.alpha = alpha
        self.marginal_epochs = self.epochs if marginal_epochs is None else marginal_epochs
        require_options(1, self.epochs, marginal_epochs=self.marginal_epochs)
        self._marginal_optimizer: OptimizerFactory | None = None
        if self.regularizer is not Regularizer.MUTUAL_INFORMATION:
            self.optimizer_names = MAPPO.optimizer_names
        else:
            if marginal is None or marginal_optimizer is None:
                raise ValueError(
                    "algorithm.regularizer=mutual_information needs algorithm.marginal and "
                    "algorithm.marginal_optimizer, got none: give both, as algorithm=mipi_ppo does"
                )
            self.marginal = marginal(**self._network_sizes, targets=self.spec.targets)
            self._marginal_optimizer = marginal_optimizer

    def _choose_part(self, priced: str | None) -> Part | None:
        if priced is None:
            return None
        part = choose("algorithm.priced", priced, Part)
        if self.regularizer is Regularizer.NONE:
            raise ValueError(
                f"algorithm.priced={priced} needs a price, and algorithm.regularizer is none: choose "
                "algorithm.regularizer=mutual_information"
            )
        if not self.spec.targets:
            raise ValueError(
                f"algorithm.priced={priced} needs actions with a target, and the environment has none: choose "
                "algorithm.priced=null, or env.target_actions=slots if the environment has this option"
            )
        return part

    def configure_optimizers(self) -> list[Optimizer]:
        """Return the optimizers of `MAPPO`, and that of the marginal policy if it is used.

        Raises:
            ValueError: as `MAPPO.configure_optimizers`.
        """
        optimizers = super().configure_optimizers()
        if self._marginal_optimizer is not None:
            optimizers.append(self._marginal_optimizer(self.marginal.parameters()))
        return optimizers

    @property
    def partitions_per_batch(self) -> int:
        """G, number of imaginary partitions that a batch needs: one per epoch in which the marginal policy learns."""
        return self.marginal_epochs if self._averages_imaginary_teams else 0

    # ------------------------------------------------------------------ the learning step

    def augmented_reward(self, b: EpisodeBatch, log_pi: Tensor, states: States) -> tuple[Tensor, Metrics, States]:
        """Return the reward [L] minus the information cost of the team, (3), metrics, and states of the marginal."""
        log_marginal, further = None, {}
        if self.regularizer is Regularizer.MUTUAL_INFORMATION:
            log_marginal, further["marginal"] = self._marginal_from(b, b.decisions, states.get("marginal"))
        cost = self.alpha * self._penalty(b, log_pi, log_marginal)
        team_cost = torch.where(b.deciding, info.of_action(cost, b.action), 0.0).sum(dim=-1)
        metrics = self._information_metrics(b, log_pi, log_marginal)
        if self.regularizer is not Regularizer.NONE:
            metrics["cost"] = b.mean_of_played(team_cost)
        return b.reward - team_cost, metrics, further

    def _penalty(self, b: EpisodeBatch, log_pi: Tensor, log_marginal: Tensor | None) -> Tensor:
        """Return the penalty [L, A, U] of the priced part of a decision; kind and target add up to the whole."""
        whole = info.penalty(self.regularizer, log_pi, log_marginal)
        if self.priced is None:
            return whole
        kinds = self.agent.kinds.of_actions(b.action.shape[1], b.visible.shape[2])[:-1].to(b.action.device)
        log_marginal_kinds = None if log_marginal is None else info.log_kinds(log_marginal, kinds)
        of_kind = info.penalty(self.regularizer, info.log_kinds(log_pi, kinds), log_marginal_kinds)
        return of_kind if self.priced is Part.KIND else whole - of_kind

    def learn_from(self, b: EpisodeBatch, old: Experience, states: States, epoch: int) -> Metrics:
        """Take one step of the marginal policy, in its epochs, then one of the policy and one of the critic."""
        learns = self.regularizer is Regularizer.MUTUAL_INFORMATION and epoch < self.marginal_epochs
        marginal = self._learn_marginal(b, states, epoch) if learns else {}
        return marginal | super().learn_from(b, old, states, epoch)

    def _learn_marginal(self, b: EpisodeBatch, states: States, epoch: int) -> Metrics:
        """Take one step of the marginal policy on (17), towards the policy in the imaginary teams of this epoch."""
        log_marginal, _ = self._marginal_from(b, b.decisions, states.get("marginal"))
        with torch.no_grad():
            team = b.within(b.visible, epoch) if self._averages_imaginary_teams else b.visible
            log_team, _ = self._log_policy(b, team, states)
        return self._fit_marginal(b, log_marginal, log_team)
