"""MAPPO (Yu et al. 2022) for teams that change, and with the information term of MIPI: MIPI-PPO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torch.optim import Optimizer

from mipi_pl import spec as keys
from mipi_pl.algorithms.base import EntityAlgorithm, Metrics, OptimizerFactory, means, require_options
from mipi_pl.algorithms.batch import FULL, EpisodeBatch
from mipi_pl.algorithms.experience import Experience, ReturnScale, advantages
from mipi_pl.algorithms.informed import InformationCost
from mipi_pl.algorithms.memory import RolloutMemory, States
from mipi_pl.losses import information as info
from mipi_pl.losses import ppo
from mipi_pl.losses.information import Regularizer
from mipi_pl.spec import EntitySpec
from models.agent import EntityAgent

POLICY, CRITIC, MARGINAL = range(3)
"""Indices of the optimizers."""

_MEMORY = "rollout_memory"
"""Key of a checkpoint."""


class MAPPO(InformationCost, EntityAlgorithm):
    """Clipped policy optimization on rollouts of the present policy, with a centralised critic of the team.

    With ``regularizer=mutual_information`` the reward is augmented by -alpha sum_i log pi_i(u_i|s)/pi_i(u_i|s_i+), and
    the marginal policy is learned by (17) on imaginary teams, as in MIPI.

    Args:
        spec: sizes of the world.
        agent: factory of trunk and policy head; takes n_features, n_actions and targets. Its critic head stays unused.
        critic: factory of the centralised critic; takes n_features, n_actions and n_entities.
        policy_optimizer: factory of the optimizer of trunk and policy head.
        critic_optimizer: of the critic.
        marginal: factory of the marginal policy, for ``mutual_information`` only; takes what that of the agent takes.
        marginal_optimizer: of the marginal policy.
        regularizer: ``mutual_information``, ``entropy`` or ``none``: what the reward is augmented with.
        alpha: price of it, in units of return.
        marginal_teams: ``imaginary`` averages the policy over random sub-groups, ``actual`` over the teams as they are.
        gamma: discount per step.
        gae_lambda: of the advantages.
        clip: how far the ratio of probabilities may move from 1.
        epochs: passes over a rollout.
        minibatches: parts that an epoch is divided into, of whole sequences; at most one for each environment.
        marginal_epochs: the first epochs, in which the marginal policy learns; None for all.
        entropy_bonus: weight of the policy's entropy in its loss.
        value_clip: as `clip`, for the critic's normalised values; null for none.
        huber_delta: error, in normalised values, beyond which the critic's loss is linear; null for none.
        value_decay: of the running mean and deviation that returns are normalised with; null normalises nothing.
        truncation_is_terminal: no value after the time limit (REFIL's default); else that of the last observation.
        gradient_clip: largest gradient norm of one optimizer step.

    Raises:
        ValueError: for values out of range, or mutual information without a marginal.
    """

    optimizer_names = ("policy", "critic", "marginal")
    on_policy = True
    agent: EntityAgent

    def __init__(
        self,
        spec: EntitySpec,
        agent: Callable[..., EntityAgent],
        critic: Callable[..., nn.Module],
        policy_optimizer: OptimizerFactory,
        critic_optimizer: OptimizerFactory,
        marginal: Callable[..., nn.Module] | None = None,
        marginal_optimizer: OptimizerFactory | None = None,
        regularizer: str = "none",
        alpha: float = 0.03,
        marginal_teams: str = "imaginary",
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip: float = 0.2,
        epochs: int = 4,
        minibatches: int = 4,
        marginal_epochs: int | None = None,
        entropy_bonus: float = 0.01,
        value_clip: float | None = 0.2,
        huber_delta: float | None = 10.0,
        value_decay: float | None = 0.99999,
        truncation_is_terminal: bool = True,
        gradient_clip: float = 10.0,
    ) -> None:
        super().__init__(spec, gradient_clip)
        require_options(0, alpha=alpha, entropy_bonus=entropy_bonus)
        require_options(0, 1, gamma=gamma, gae_lambda=gae_lambda)
        bounds = {"value_clip": value_clip, "huber_delta": huber_delta}
        require_options(0, above=True, clip=clip, **{name: x for name, x in bounds.items() if x is not None})
        require_options(1, epochs=epochs, minibatches=minibatches)
        if value_decay is not None:
            require_options(0, 1 - 1e-6, value_decay=value_decay)
        self._choose_cost(regularizer, marginal_teams)
        self.alpha, self.gamma, self.gae_lambda = alpha, gamma, gae_lambda
        self.clip, self.value_clip, self.huber_delta = clip, value_clip, huber_delta
        self.epochs, self.minibatches, self.entropy_bonus = epochs, minibatches, entropy_bonus
        self.marginal_epochs = epochs if marginal_epochs is None else marginal_epochs
        require_options(1, epochs, marginal_epochs=self.marginal_epochs)
        self.truncation_is_terminal = truncation_is_terminal
        self._memory = RolloutMemory(spec.n_agents)
        self._optimizer_factories = [policy_optimizer, critic_optimizer]

        self.agent = agent(**self._network_sizes, targets=spec.targets)
        self.agent.utilities.requires_grad_(False)
        self.critic = critic(**self._network_sizes, n_entities=spec.n_entities)
        self.return_scale = ReturnScale(value_decay)
        if self.regularizer is Regularizer.MUTUAL_INFORMATION:
            self._add_marginal(marginal, marginal_optimizer)

    def _add_marginal(self, marginal: Callable[..., nn.Module] | None, optimizer: OptimizerFactory | None) -> None:
        if marginal is None or optimizer is None:
            raise ValueError(
                "algorithm.regularizer=mutual_information needs algorithm.marginal and its optimizer, got none: "
                "choose algorithm=mipi_ppo"
            )
        self.marginal = marginal(**self._network_sizes, targets=self.spec.targets)
        self._optimizer_factories.append(optimizer)

    def configure_optimizers(self) -> list[Optimizer]:
        """Policy with its trunk, critic, and marginal if there is one."""
        moved = [[*self.agent.trunk.parameters(), *self.agent.policy_logits.parameters()], self.critic.parameters()]
        if self.regularizer is Regularizer.MUTUAL_INFORMATION:
            moved.append(self.marginal.parameters())
        return [make(parameters) for make, parameters in zip(self._optimizer_factories, moved, strict=True)]

    @property
    def partitions_per_batch(self) -> int:
        """Imaginary partitions that one batch needs: a fresh one for each epoch in which the marginal learns."""
        return self.marginal_epochs if self._averages_imaginary_teams else 0

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the recurrent states of all processes."""
        checkpoint[_MEMORY] = self._memory.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from them."""
        self._memory.load_state_dict(checkpoint[_MEMORY])

    # ------------------------------------------------------------------ the learning step

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """K epochs on the rollout that the present policy has just played."""
        b = EpisodeBatch.from_tensordict(batch, self.spec, self.truncation_is_terminal)
        states = self._memory.before(batch)
        experience, metrics, last = self._look_back(b, states)
        steps: list[Metrics] = []
        for epoch in range(self.epochs):
            for sequences in self._minibatches(batch):
                part, rows = b.select(sequences)
                began = {name: state[sequences] for name, state in states.items()}
                seen = experience.rows(rows)
                found = self._learn_marginal(part, epoch, began)
                found |= self._improve_policy(part, seen, began)
                found |= self._improve_critic(part, seen, began)
                steps.append(found)
        self._memory.keep(batch, last)
        self.report(metrics | means(steps))

    def _minibatches(self, batch: TensorDictBase) -> Sequence[Tensor]:
        """Sequences [N'] of each minibatch of an epoch: as many minibatches in every process."""
        order = torch.randperm(len(batch)).to(batch.get(keys.REWARD).device)
        environments = int(batch.get(keys.ENVIRONMENT)[-1]) + 1  # each has at least one sequence
        return order.tensor_split(min(self.minibatches, environments))

    @torch.no_grad()
    def _look_back(self, b: EpisodeBatch, states: States) -> tuple[Experience, Metrics, States]:
        """Probabilities and values before anything moves, returns of the augmented reward, and states at the end."""
        log_pi, last_policy = self._log_policy(b, b.visible, states)
        value, last_critic = self._values(b, states)
        last = {"policy": last_policy} | ({} if last_critic is None else {"critic": last_critic})
        log_marginal = None
        if self.regularizer is Regularizer.MUTUAL_INFORMATION:
            log_marginal, last["marginal"] = self._marginal_from(b, b.decisions, states.get("marginal"))
        cost = self.alpha * info.penalty(self.regularizer, log_pi, log_marginal)
        paid = torch.where(b.deciding, info.of_action(cost, b.action), 0.0).sum(dim=-1)
        worth = self.return_scale.to_return(value)
        advantage, returns = advantages(b, b.reward - paid, worth, self.gamma, self.gae_lambda)
        self.return_scale.update(returns[b.played])
        normal, spread = ppo.normalized(advantage, b.deciding)
        metrics = {
            "value/mean": b.mean_of_played(worth),
            "value/explained_variance": ppo.explained_variance(worth[b.played], returns[b.played]),
            "advantage/deviation": spread,
            "policy/entropy": info.masked_mean(info.entropy(log_pi), b.deciding),
        }
        if self.regularizer is not Regularizer.NONE:
            metrics["cost"] = b.mean_of_played(paid)
        if log_marginal is not None:
            ratio = info.expectation(log_pi, log_pi - log_marginal)
            metrics["policy/kl_to_marginal"] = info.masked_mean(ratio, b.deciding)
        return Experience(info.of_action(log_pi, b.action), value, normal, returns), metrics, last

    def _learn_marginal(self, b: EpisodeBatch, epoch: int, states: States) -> Metrics:
        """Equation (17) towards the policy in the imaginary teams of this epoch."""
        if self.regularizer is not Regularizer.MUTUAL_INFORMATION or epoch >= self.marginal_epochs:
            return {}
        log_marginal, _ = self._marginal_from(b, b.decisions, states.get("marginal"))
        with torch.no_grad():
            team = b.within(b.visible, epoch) if self._averages_imaginary_teams else b.visible
            log_team, _ = self._log_policy(b, team, states)
        loss = info.marginal_loss(log_marginal, log_team, b.deciding)
        return {"loss/marginal": loss.detach(), "gradient_norm/marginal": self.descend(MARGINAL, loss)}

    def _improve_policy(self, b: EpisodeBatch, seen: Experience, states: States) -> Metrics:
        """Clipped surrogate and entropy bonus over the agents that decided."""
        log_pi, _ = self._log_policy(b, b.visible, states)
        log_prob = info.of_action(log_pi, b.action)
        loss = ppo.surrogate_loss(log_prob, seen.log_prob, seen.advantage, b.deciding, self.clip)
        kl, clipped = ppo.divergence(log_prob.detach(), seen.log_prob, b.deciding, self.clip)
        metrics = {"loss/policy": loss.detach(), "policy/kl_to_old": kl, "policy/clipped": clipped}
        if self.entropy_bonus > 0.0:
            loss = loss - self.entropy_bonus * info.masked_mean(info.entropy(log_pi), b.deciding)
        return metrics | {"gradient_norm/policy": self.descend(POLICY, loss)}

    def _improve_critic(self, b: EpisodeBatch, seen: Experience, states: States) -> Metrics:
        """Regression to the normalised returns."""
        value, _ = self._values(b, states)
        target = self.return_scale.to_value(seen.returns)
        now, old, wanted = (x[b.played] for x in (value, seen.value, target))
        loss = ppo.value_loss(now, old, wanted, self.value_clip, self.huber_delta)
        return {"loss/value": loss.detach(), "gradient_norm/critic": self.descend(CRITIC, loss)}

    # ------------------------------------------------------------------ networks on a batch

    def _log_policy(self, b: EpisodeBatch, view: Tensor, states: States) -> tuple[Tensor, Tensor]:
        """Log pi_i(u | s) [L, A, U] under a view [L, A, E], and recurrent states [N, A, H] after the last decisions.

        Rows of agents that do not decide mean nothing.
        """
        began = states["policy"].unsqueeze(1) if "policy" in states else None
        seen, last = self.agent.trunk(b.inputs, view.unsqueeze(1), b.decisions, began)
        return info.log_policy(self.agent.policy_logits(seen.view(FULL)), b.available), last.squeeze(1)

    def _values(self, b: EpisodeBatch, states: States) -> tuple[Tensor, Tensor | None]:
        """Of all observed steps [L], as the critic gives them, and its recurrent states [N, 1, H] if it has some.

        Those are the ones after the last played step: the next rollout begins with the observation that follows.
        """
        began = states["critic"][:, 0] if "critic" in states else None
        value, after = self.critic(b.inputs, b.present.any(dim=1), b.steps, began)
        return value, None if after is None else after[b.steps.starts[1:] - 2].unsqueeze(1)
