"""MIPI: mutual-information regularised multi-agent policy iteration (section 4 of the paper)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torch.optim import Optimizer

from mipi_pl.algorithms.base import Metrics, OptimizerFactory, require_options
from mipi_pl.algorithms.batch import FULL, EpisodeBatch
from mipi_pl.algorithms.information_cost import InformationCost
from mipi_pl.algorithms.joint_value import JointValueAlgorithm
from mipi_pl.losses import information as info
from mipi_pl.losses.information import Divergence, Regularizer, Temperature
from mipi_pl.losses.td import TargetKind
from mipi_pl.models.agent import EntityAgent
from mipi_pl.models.mixers import Mixer
from mipi_pl.models.targets import Perceived
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.checks import choose
from mipi_pl.utils.memory import require_memory

_ALTERNATION_BYTES = 100
"""Memory of one alternation in the list of the views of a batch."""
_SMALLEST_WEIGHT = 1e-3
"""Lower bound of an agent's mixer weight where its temperature is divided by it."""


class MIPI(InformationCost, JointValueAlgorithm):
    """Joint policy evaluation (16), then M Blahut-Arimoto alternations of marginal (17) and policy (18) per batch.

    Args:
        spec: sizes of the environment.
        agent: factory of trunk, utility head and policy head; takes n_features, n_kinds and targets.
        marginal: factory of the marginal policy; takes n_features, n_kinds and targets.
        mixer: factory of the mixer; takes n_features, n_kinds and n_agents.
        critic_optimizer: factory of the optimizer of trunk, utility head and mixer.
        marginal_optimizer: factory of the optimizer of the marginal policy.
        policy_optimizer: factory of the optimizer of the policy head, and of the trunk with `policy_moves_trunk`.
        regularizer: ``mutual_information``, ``entropy`` or ``none`` (the ablations Entropy and Value).
        alpha: temperature in the TD target (16), in units of return.
        alpha_i: temperature in the policy loss (18); None for `alpha`.
        temperature: ``constant`` uses `alpha_i` for every agent, as printed in (18); ``by_weight`` divides `alpha_i` by
            the agent's mixer weight, without gradient, for which Lemma 2 holds (docs/theory.md).
        uniform_share: share of the uniform distribution over available actions that is mixed into policy and marginal
            in the penalty; above 0, the cost of an action is bounded.
        gamma: discount per step.
        td_lambda: lambda of the TD(lambda) target; 0 for the one-step target of the paper.
        target: ``sampled`` samples u' from the policy as in the paper; ``expected`` uses the exact expectation, which
            a linear mixer computes in one pass.
        imaginary_weight: lambda, weight of REFIL's imaginary objective in the critic loss.
        iterations: M, alternations per batch.
        policy_steps: optimizer steps of the policy per alternation; a step is cheap unless it updates the trunk.
        marginal_teams: ``imaginary`` averages the policy over random sub-groups, ``actual`` over the actual teams.
        policy_divergence: ``reverse`` for the loss (18) of the paper, ``forward`` for the cross-entropy to its exact
            optimum (13).
        policy_moves_trunk: whether the policy loss also updates the trunk, which is shared with the critic.
        truncation_is_terminal: treat the time limit as termination, i.e. do not bootstrap from the last observation
            (REFIL's default).
        gradient_clip: largest gradient norm of an optimizer step.
        target_networks: compute the TD targets with copies of the networks that are updated from time to time; False:
            with the networks themselves (for fresh episodes).

    Raises:
        ValueError: for values out of range, or ``expected`` targets with a non-linear mixer.
    """

    agent: EntityAgent
    fits_policy_to_utilities = True
    without_partitions = (*InformationCost.without_partitions, *JointValueAlgorithm.without_partitions)
    optimizer_names = ("critic", "marginal", "policy")

    def __init__(
        self,
        spec: EntitySpec,
        agent: Callable[..., EntityAgent],
        marginal: Callable[..., nn.Module],
        mixer: Callable[..., Mixer],
        critic_optimizer: OptimizerFactory,
        marginal_optimizer: OptimizerFactory,
        policy_optimizer: OptimizerFactory,
        regularizer: str = "mutual_information",
        alpha: float = 0.03,
        alpha_i: float | None = None,
        temperature: str = "constant",
        uniform_share: float = 0.0,
        gamma: float = 0.99,
        td_lambda: float = 0.0,
        target: str = "expected",
        imaginary_weight: float = 0.5,
        iterations: int = 4,
        policy_steps: int = 1,
        marginal_teams: str = "imaginary",
        policy_divergence: str = "reverse",
        policy_moves_trunk: bool = False,
        truncation_is_terminal: bool = True,
        gradient_clip: float = 10.0,
        target_networks: bool = True,
    ) -> None:
        super().__init__(
            spec,
            gamma=gamma,
            td_lambda=td_lambda,
            imaginary_weight=imaginary_weight,
            truncation_is_terminal=truncation_is_terminal,
            gradient_clip=gradient_clip,
            target_networks=target_networks,
        )
        require_options(0, alpha=alpha, alpha_i=0.0 if alpha_i is None else alpha_i)
        require_options(0, 1, uniform_share=uniform_share)
        require_options(1, iterations=iterations, policy_steps=policy_steps)
        require_memory(
            f"{iterations:,} alternations per batch", _ALTERNATION_BYTES * iterations, "lower algorithm.iterations"
        )
        self._choose_cost(regularizer, marginal_teams)
        self.alpha, self.alpha_i = alpha, alpha if alpha_i is None else alpha_i
        self.temperature = choose("algorithm.temperature", temperature, Temperature)
        self.uniform_share = uniform_share
        self.target = choose("algorithm.target", target, TargetKind)
        self.iterations, self.policy_steps = iterations, policy_steps
        self.policy_divergence = choose("algorithm.policy_divergence", policy_divergence, Divergence)
        self.policy_moves_trunk = policy_moves_trunk
        self._optimizer_factories = (critic_optimizer, marginal_optimizer, policy_optimizer)
        self._make_networks(agent, marginal, mixer)

    def _make_networks(
        self, agent: Callable[..., EntityAgent], marginal: Callable[..., nn.Module], mixer: Callable[..., Mixer]
    ) -> None:
        self.agent = agent(**self._network_sizes, targets=self.spec.targets)
        self.marginal = marginal(**self._network_sizes, targets=self.spec.targets)
        self.mixer = mixer(**self._network_sizes, n_agents=self.spec.n_agents)
        if self.target is TargetKind.EXPECTED and not self.mixer.linear:
            raise ValueError("target=expected needs a linear mixer (mixer.linear=true); with ELU use target=sampled")
        self.make_targets()

    def configure_optimizers(self) -> list[Optimizer]:
        """Return the optimizers of critic (with the mixer), marginal and policy."""
        critic, marginal, policy = self._optimizer_factories
        trunk = list(self.agent.trunk.parameters())
        of_critic = [*trunk, *self.agent.utilities.parameters(), *self.mixer.parameters()]
        of_policy = [*(trunk if self.policy_moves_trunk else []), *self.agent.policy_logits.parameters()]
        return [critic(of_critic), marginal(self.marginal.parameters()), policy(of_policy)]

    @property
    def partitions_per_batch(self) -> int:
        """G, number of imaginary partitions that a batch needs: one for the critic and one per alternation."""
        return 1 + self.iterations if self._averages_imaginary_teams else super().partitions_per_batch

    def steps_per_update(self, num_envs: int) -> int:
        """Return the number of optimizer steps of an update: one of the critic, and those of marginal and policy."""
        return 1 + self.iterations * (1 + self.policy_steps)

    # ------------------------------------------------------------------ the learning step

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """Run one policy iteration on a batch of episodes."""
        b = EpisodeBatch.from_tensordict(batch, self.spec, self.truncation_is_terminal)
        log_marginal = self._log_marginal(b)
        metrics = self._evaluate_joint_policy(b, log_marginal)
        metrics |= self._improve_policies(b, log_marginal)
        self.report(metrics)

    def _evaluate_joint_policy(self, b: EpisodeBatch, log_marginal: Tensor | None) -> Metrics:
        """Take one step of the critic on (16) with REFIL's imaginary objective."""
        seen = self._perceive(b, self._critic_views(b, b.visible))
        target = self.td_targets(b, seen.view(FULL).detach(), log_marginal)
        loss, metrics = self._td_loss(b, seen, target)
        return metrics | {"gradient_norm/critic": self.descend("critic", loss)}

    @torch.no_grad()
    def td_targets(self, b: EpisodeBatch, seen: Perceived, log_marginal: Tensor | None) -> Tensor:
        """Return the right-hand side of (16) [P] for the played steps.

        The actions u' come from the current policy, their values from the target networks.
        """
        log_pi = self._log_policy(b, seen)
        utilities = self.target_utilities(b) if self.target_networks else self.agent.utilities(seen)
        cost = self.alpha * self._penalty(b, log_pi, log_marginal)
        if self.target is TargetKind.EXPECTED:
            utility, cost = info.expectation(log_pi, utilities), info.expectation(log_pi, cost)
        else:
            # A policy that is not finite cannot be drawn from; the NaN stays in its loss, where `descend` finds it.
            drawn = torch.distributions.Categorical(logits=log_pi.nan_to_num()).sample()
            utility, cost = info.of_action(utilities, drawn), info.of_action(cost, drawn)
        return self.bootstrapped(b, utility, cost)

    def _improve_policies(self, b: EpisodeBatch, log_marginal: Tensor | None) -> Metrics:
        """Run M alternations of (17) and (18) with the fixed utilities of the evaluation (16)."""
        features = self._features(b)
        with torch.no_grad():
            utilities = self.agent.utilities(features(None))
            temperature = self._temperature(b)
        metrics: Metrics = {}
        for m in range(self.iterations):
            if log_marginal is not None:  # (17)
                with torch.no_grad():
                    log_team = self._log_policy(b, features(m))
                metrics |= self._fit_marginal(b, log_marginal, log_team)
                log_marginal = self._log_marginal(b)
            for _ in range(self.policy_steps):  # (18)
                log_pi = self._log_policy(b, features(None))
                metrics |= self._step_policy(b, log_pi, log_marginal, utilities, temperature)
        return metrics | self._information_metrics(b, log_pi, log_marginal)  # of the policy before its last step

    def _step_policy(
        self,
        b: EpisodeBatch,
        log_pi: Tensor,
        log_marginal: Tensor | None,
        utilities: Tensor,
        temperature: float | Tensor,
    ) -> Metrics:
        """Take one step of the policy on (18), or on the projection of its exact optimum (13)."""
        log_marginal = None if log_marginal is None else log_marginal.detach()
        if self.policy_divergence is Divergence.FORWARD:
            prior = None if log_marginal is None else info.softened(log_marginal, b.available, self.uniform_share)
            improved = info.improved_log_policy(prior, utilities, temperature, b.available)
            loss = info.projection_loss(log_pi, improved, b.deciding)
        else:
            cost = self._penalty(b, log_pi, log_marginal)
            loss = info.policy_loss(log_pi, cost, utilities, temperature, b.deciding)
        return {"loss/policy": loss.detach(), "gradient_norm/policy": self.descend("policy", loss)}

    def _penalty(self, b: EpisodeBatch, log_pi: Tensor, log_marginal: Tensor | None) -> Tensor:
        """Return the penalty [L, A, U], which alpha multiplies, of the probabilities mixed with the uniform share."""
        marginal = None if log_marginal is None else info.softened(log_marginal, b.available, self.uniform_share)
        return info.penalty(self.regularizer, info.softened(log_pi, b.available, self.uniform_share), marginal)

    def _temperature(self, b: EpisodeBatch) -> float | Tensor:
        """Return the temperature of (18) in units of the agents' utilities: one number for all, or [L, A, 1]."""
        if self.regularizer is Regularizer.NONE:
            return 0.0
        if self.temperature is Temperature.CONSTANT:
            return self.alpha_i
        weights = self.mixer.weights(b.inputs, b.present.unsqueeze(1), b.acting).of_agents()
        return (self.alpha_i / weights.clamp(min=_SMALLEST_WEIGHT)).unsqueeze(-1)

    # ------------------------------------------------------------------ networks on a batch

    def _features(self, b: EpisodeBatch) -> Callable[[int | None], Perceived]:
        """Return a function of m: the features in the full team for None, or in the team of (17) in alternation m.

        They are computed in one pass, without gradient, unless the policy's steps move the trunk. Without imaginary
        teams, every alternation fits the marginal to the full team.
        """
        views: dict[int | None, Tensor] = {None: b.visible}
        if self._averages_imaginary_teams:
            views |= {m: b.within(b.visible, 1 + m) for m in range(self.iterations)}  # partition 0 is the critic's
        if self.policy_moves_trunk:
            return lambda m: self._perceive(b, views.get(m, b.visible).unsqueeze(1)).view(FULL)
        with torch.no_grad():
            seen = self._perceive(b, torch.stack(list(views.values()), dim=1))
        place = {m: number for number, m in enumerate(views)}
        return lambda m: seen.view(place.get(m, FULL))

    def _log_policy(self, b: EpisodeBatch, seen: Perceived) -> Tensor:
        return info.log_policy(self.agent.policy_logits(seen), b.available)
