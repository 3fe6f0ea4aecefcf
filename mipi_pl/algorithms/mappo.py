"""MAPPO (Yu et al. 2022) for teams that change, and with the information term of MIPI: MIPI-PPO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torch.optim import Optimizer
from torchrl.modules import PopArtValueNorm

from mipi_pl import ranks
from mipi_pl.algorithms.base import EntityAlgorithm, Metrics, OptimizerFactory
from mipi_pl.algorithms.batch import EpisodeBatch
from mipi_pl.algorithms.informed import InformationCost
from mipi_pl.checks import require
from mipi_pl.losses import information as info
from mipi_pl.losses import ppo
from mipi_pl.losses.information import Regularizer
from mipi_pl.spec import EntitySpec
from models.agent import EntityAgent

POLICY, CRITIC, MARGINAL = range(3)
"""Indices of the optimizers."""


@dataclass
class Experience:
    """What was true when the episodes were played, of their P played steps.

    Attributes:
        log_prob: [P, A] of the actions taken.
        value: [P] as the critic gave it, normalised.
        advantage: [P] normalised over all episodes.
        returns: [P] in units of return.
    """

    log_prob: Tensor
    value: Tensor
    advantage: Tensor
    returns: Tensor

    def padded(self, b: EpisodeBatch) -> Experience:
        """The same laid out by time and episode, [S, N, ...]."""
        return Experience(**{name: b.by_time(x) for name, x in vars(self).items()})

    def of(self, part: EpisodeBatch, episodes: Tensor) -> Experience:
        """From what `padded` gave, the played steps of `episodes`, which are those of `part`."""
        at = (part.steps.step[part.played], episodes[part.steps.episode[part.played]])
        return Experience(**{name: x[at] for name, x in vars(self).items()})


class MAPPO(InformationCost, EntityAlgorithm):
    """Clipped policy optimization on whole episodes of the present policy, with a centralised critic of the team.

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
        epochs: passes over the episodes of a batch.
        minibatches: parts of whole episodes that an epoch is divided into; at most one for each episode.
        entropy_bonus: weight of the policy's entropy in its loss.
        value_clip: as `clip`, for the critic's normalised values; null for none.
        huber_delta: error, in normalised values, beyond which the critic's loss is linear; null for none.
        value_decay: of the running mean and deviation that returns are normalised with; null normalises nothing.
        truncation_is_terminal: no value after the time limit (REFIL's default); else that of the last observation.
        gradient_clip: largest gradient norm of one optimizer step.

    Raises:
        ValueError: for values out of range, mutual information without a marginal, or several processes: advantages
            and returns are normalised over the episodes of one.
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
        epochs: int = 5,
        minibatches: int = 1,
        entropy_bonus: float = 0.01,
        value_clip: float | None = 0.2,
        huber_delta: float | None = 10.0,
        value_decay: float | None = 0.99999,
        truncation_is_terminal: bool = True,
        gradient_clip: float = 10.0,
    ) -> None:
        super().__init__(spec, gradient_clip)
        if ranks.size() > 1:
            raise ValueError("MAPPO and MIPI-PPO learn in a single process, got trainer.devices > 1: set it to 1")
        for name, value in {"alpha": alpha, "entropy_bonus": entropy_bonus}.items():
            require(f"algorithm.{name}", value, 0)
        for name, value in {"gamma": gamma, "gae_lambda": gae_lambda}.items():
            require(f"algorithm.{name}", value, 0, 1)
        for name, bound in {"clip": clip, "value_clip": value_clip, "huber_delta": huber_delta}.items():
            if bound is not None:
                require(f"algorithm.{name}", bound, 0, above=True)
        for name, value in {"epochs": epochs, "minibatches": minibatches}.items():
            require(f"algorithm.{name}", value, 1)
        if value_decay is not None:
            require("algorithm.value_decay", value_decay, 0, 1 - 1e-6)
        self._choose_cost(regularizer, marginal_teams)
        self.alpha, self.gamma, self.gae_lambda = alpha, gamma, gae_lambda
        self.clip, self.value_clip, self.huber_delta = clip, value_clip, huber_delta
        self.epochs, self.minibatches, self.entropy_bonus = epochs, minibatches, entropy_bonus
        self.truncation_is_terminal = truncation_is_terminal
        self._optimizer_factories = [policy_optimizer, critic_optimizer]

        sizes = {"n_features": spec.n_features, "n_actions": spec.n_kinds}
        self.agent = agent(**sizes, targets=spec.targets)
        self.agent.utilities.requires_grad_(False)
        self.critic = critic(**sizes, n_entities=spec.n_entities)
        self.value_norm = None if value_decay is None else PopArtValueNorm(shape=1, beta=value_decay)
        if self.regularizer is Regularizer.MUTUAL_INFORMATION:
            if marginal is None or marginal_optimizer is None:
                raise ValueError(
                    "algorithm.regularizer=mutual_information needs algorithm.marginal and its optimizer, got none: "
                    "choose algorithm=mipi_ppo"
                )
            self.marginal = marginal(**sizes, targets=spec.targets)
            self._optimizer_factories.append(marginal_optimizer)

    def configure_optimizers(self) -> list[Optimizer]:
        """Policy with its trunk, critic, and marginal if there is one."""
        moved = [[*self.agent.trunk.parameters(), *self.agent.policy_logits.parameters()], self.critic.parameters()]
        if self.regularizer is Regularizer.MUTUAL_INFORMATION:
            moved.append(self.marginal.parameters())
        return [make(parameters) for make, parameters in zip(self._optimizer_factories, moved, strict=True)]

    @property
    def partitions_per_batch(self) -> int:
        """Imaginary partitions that one batch needs: a fresh one for each epoch."""
        return self.epochs if self._averages_imaginary_teams else 0

    # ------------------------------------------------------------------ the learning step

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """K epochs on the episodes that the present policy has just played."""
        b = EpisodeBatch.of(batch, self.spec, self.truncation_is_terminal)
        experience, metrics = self._look_back(b)
        experience = experience.padded(b)
        steps: list[Metrics] = []
        for epoch in range(self.epochs):
            for episodes in torch.randperm(len(batch)).tensor_split(min(self.minibatches, len(batch))):
                chosen = episodes.to(b.reward.device)
                part = EpisodeBatch.of(batch[chosen], self.spec, self.truncation_is_terminal)
                seen = experience.of(part, chosen)
                found = self._learn_marginal(part, epoch)
                found |= self._improve_policy(part, seen)
                found |= self._improve_critic(part, seen)
                steps.append(found)
        self.report(metrics | {name: torch.stack([step[name] for step in steps]).mean() for name in steps[0]})

    @torch.no_grad()
    def _look_back(self, b: EpisodeBatch) -> tuple[Experience, Metrics]:
        """Probabilities and values before anything moves; advantages and returns of the augmented reward."""
        log_pi = self._log_policy(b, b.visible)
        log_marginal = self._log_marginal(b)
        cost = self.alpha * info.penalty(self.regularizer, log_pi, log_marginal)
        paid = torch.where(b.deciding, info.of_action(cost, b.action), 0.0).sum(dim=-1)[b.played]
        given = self._values(b)
        value = self._in_units_of_return(given)
        now, after = b.played, b.played + 1
        goes_on = (~b.ended[now]).to(value)
        by_step = (b.reward[now] - paid, value[now], value[after], goes_on, torch.ones_like(paid))
        earned, of_now, of_next, goes_on, played = (b.by_time(x) for x in by_step)
        by_time = ppo.advantages(earned, of_now, of_next, goes_on, played, self.gamma, self.gae_lambda)
        advantage, returns = (b.steps.pack(x)[now] for x in by_time)
        if self.value_norm is not None:
            self.value_norm.update(returns.unsqueeze(-1))
        normal, spread = ppo.normalized(advantage, b.deciding[now])
        metrics = {
            "value/mean": value[now].mean(),
            "value/explained_variance": ppo.explained_variance(value[now], returns),
            "advantage/deviation": spread,
            "policy/entropy": info.masked_mean(info.entropy(log_pi), b.deciding),
        }
        if self.regularizer is not Regularizer.NONE:
            metrics["cost"] = paid.mean()
        if log_marginal is not None:
            ratio = info.expectation(log_pi, log_pi - log_marginal)
            metrics["policy/kl_to_marginal"] = info.masked_mean(ratio, b.deciding)
        return Experience(info.of_action(log_pi, b.action)[now], given[now], normal, returns), metrics

    def _learn_marginal(self, b: EpisodeBatch, epoch: int) -> Metrics:
        """Equation (17) towards the policy in the imaginary teams of this epoch."""
        log_marginal = self._log_marginal(b)
        if log_marginal is None:
            return {}
        with torch.no_grad():
            log_team = self._log_policy(b, b.within(b.visible, epoch) if self._averages_imaginary_teams else b.visible)
        loss = info.marginal_loss(log_marginal, log_team, b.deciding)
        return {"loss/marginal": loss.detach(), "gradient_norm/marginal": self.descend(MARGINAL, loss)}

    def _improve_policy(self, b: EpisodeBatch, seen: Experience) -> Metrics:
        """Clipped surrogate and entropy bonus over the agents that decided."""
        log_pi, deciding = self._log_policy(b, b.visible)[b.played], b.deciding[b.played]
        log_prob = info.of_action(log_pi, b.action[b.played])
        loss = ppo.surrogate_loss(log_prob, seen.log_prob, seen.advantage, deciding, self.clip)
        kl, clipped = ppo.divergence(log_prob.detach(), seen.log_prob, deciding, self.clip)
        metrics = {"loss/policy": loss.detach(), "policy/kl_to_old": kl, "policy/clipped": clipped}
        loss = loss - self.entropy_bonus * info.masked_mean(info.entropy(log_pi), deciding)
        return metrics | {"gradient_norm/policy": self.descend(POLICY, loss)}

    def _improve_critic(self, b: EpisodeBatch, seen: Experience) -> Metrics:
        """Regression to the normalised returns."""
        target = seen.returns
        if self.value_norm is not None:
            target = self.value_norm.normalize(target.unsqueeze(-1)).squeeze(-1)
        loss = ppo.value_loss(self._values(b)[b.played], seen.value, target, self.value_clip, self.huber_delta)
        return {"loss/value": loss.detach(), "gradient_norm/critic": self.descend(CRITIC, loss)}

    # ------------------------------------------------------------------ networks on a batch

    def _log_policy(self, b: EpisodeBatch, view: Tensor) -> Tensor:
        seen = self.agent.trunk(b.inputs, view.unsqueeze(1), b.steps)[0].view(0)
        return info.log_policy(self.agent.policy_logits(seen), b.available)

    def _values(self, b: EpisodeBatch) -> Tensor:
        """Of all observed steps [L], as the critic gives them."""
        values: Tensor = self.critic(b.inputs, b.present.any(dim=1))
        return values

    def _in_units_of_return(self, value: Tensor) -> Tensor:
        return value if self.value_norm is None else self.value_norm.denormalize(value.unsqueeze(-1)).squeeze(-1)
