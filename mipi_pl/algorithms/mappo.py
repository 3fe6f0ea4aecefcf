"""MAPPO (Yu et al. 2022) for teams of varying composition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torch.optim import Optimizer

from mipi_pl import spec as keys
from mipi_pl.algorithms.base import EntityAlgorithm, Metrics, OptimizerFactory, require_options
from mipi_pl.algorithms.batch import FULL, EpisodeBatch
from mipi_pl.algorithms.experience import LARGEST_DECAY, Experience, ReturnScale, advantages
from mipi_pl.algorithms.rollout_memory import RolloutMemory, States
from mipi_pl.losses import information as info
from mipi_pl.losses import ppo
from mipi_pl.models.agent import EntityAgent
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.memory import require_memory

_MEMORY = "rollout_memory"
"""Key under which a checkpoint stores the recurrent states."""
_METRICS_BYTES = 5_000
"""Memory of the metrics of one epoch, which are kept until the end of the update."""


def means(steps: Sequence[Metrics]) -> Metrics:
    """Return the mean of every metric over the steps that report it."""
    names = dict.fromkeys(name for step in steps for name in step)
    return {name: torch.stack([step[name] for step in steps if name in step]).mean() for name in names}


class MAPPO(EntityAlgorithm):
    """Clipped policy optimization on rollouts of the present policy, with a centralised critic for the team.

    Args:
        spec: sizes of the environment.
        agent: factory of trunk and policy head; takes n_features, n_kinds and targets. Its utility head is not used.
        critic: factory of the centralised critic; takes n_features, n_kinds and n_entities.
        policy_optimizer: factory of the optimizer of trunk and policy head.
        critic_optimizer: factory of the optimizer of the critic.
        gamma: discount per step.
        gae_lambda: lambda of the advantages.
        clip: largest deviation of the probability ratio from 1.
        epochs: passes over a rollout.
        minibatches: minibatches of whole sequences per epoch; at most one per environment.
        entropy_bonus: weight of the entropy bonus in the policy loss.
        value_clip: largest change of the critic's normalised values; None for no clipping.
        huber_delta: error of the normalised values beyond which the critic's loss is linear; None for a quadratic loss.
        value_decay: decay of the running mean and deviation for the normalisation of returns, at most 0.99999 in
            training; None for no normalisation.
        truncation_is_terminal: treat the time limit as termination, i.e. do not bootstrap from the last observation
            (REFIL's default).
        gradient_clip: largest gradient norm of an optimizer step.

    Raises:
        ValueError: for values out of range.
    """

    optimizer_names: tuple[str, ...] = ("policy", "critic")
    on_policy = True
    agent: EntityAgent

    def __init__(
        self,
        spec: EntitySpec,
        agent: Callable[..., EntityAgent],
        critic: Callable[..., nn.Module],
        policy_optimizer: OptimizerFactory,
        critic_optimizer: OptimizerFactory,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip: float = 0.2,
        epochs: int = 4,
        minibatches: int = 4,
        entropy_bonus: float = 0.01,
        value_clip: float | None = 0.2,
        huber_delta: float | None = 10.0,
        value_decay: float | None = 0.99999,
        truncation_is_terminal: bool = True,
        gradient_clip: float = 10.0,
    ) -> None:
        super().__init__(spec, gradient_clip)
        require_options(0, entropy_bonus=entropy_bonus)
        require_options(0, 1, gamma=gamma, gae_lambda=gae_lambda)
        bounds = {"value_clip": value_clip, "huber_delta": huber_delta}
        require_options(0, above=True, clip=clip, **{name: x for name, x in bounds.items() if x is not None})
        require_options(1, epochs=epochs, minibatches=minibatches)
        require_memory(f"the metrics of {epochs:,} epochs", _METRICS_BYTES * epochs, "lower algorithm.epochs")
        if value_decay is not None:
            require_options(0, 1, value_decay=value_decay)
        self.gamma, self.gae_lambda = gamma, gae_lambda
        self.clip, self.value_clip, self.huber_delta = clip, value_clip, huber_delta
        self.epochs, self.minibatches, self.entropy_bonus = epochs, minibatches, entropy_bonus
        self.truncation_is_terminal = truncation_is_terminal
        self._memory = RolloutMemory(spec.n_agents)
        self._optimizer_factories = (policy_optimizer, critic_optimizer)

        self.agent = agent(**self._network_sizes, targets=spec.targets)
        self.agent.utilities.requires_grad_(False)
        self.critic = critic(**self._network_sizes, n_entities=spec.n_entities)
        self.value_decay, self.return_scale = value_decay, ReturnScale(value_decay)

    def configure_optimizers(self) -> list[Optimizer]:
        """Return the optimizers of the policy with its trunk, and of the critic.

        Raises:
            ValueError: if `value_decay` is too large to train with. Runs of older versions that have it still play.
        """
        if self.value_decay is not None:
            require_options(0, LARGEST_DECAY, value_decay=self.value_decay)
        policy, critic = self._optimizer_factories
        of_policy = [*self.agent.trunk.parameters(), *self.agent.policy_logits.parameters()]
        return [policy(of_policy), critic(self.critic.parameters())]

    @property
    def partitions_per_batch(self) -> int:
        """G, number of imaginary partitions that a batch needs: none, because no network imagines other teams."""
        return 0

    def steps_per_update(self, num_envs: int) -> int:
        """Return the number of minibatches of an update, in all epochs."""
        return self.epochs * min(self.minibatches, num_envs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the recurrent states of all processes."""
        checkpoint[_MEMORY] = self._memory.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the recurrent states of this process."""
        self._memory.load_state_dict(checkpoint[_MEMORY])

    # ------------------------------------------------------------------ the learning step

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """Learn for `epochs` epochs from a rollout of the present policy."""
        b = EpisodeBatch.from_tensordict(batch, self.spec, self.truncation_is_terminal)
        states = self._memory.before(batch)
        experience, metrics, last = self._evaluate_rollout(b, states)
        steps: list[Metrics] = []
        for epoch in range(self.epochs):
            for sequences in self._minibatches(batch):
                part, rows = b.select(sequences)
                initial = {name: state[sequences] for name, state in states.items()}
                steps.append(self.learn_from(part, experience.rows(rows), initial, epoch))
        self._memory.keep(batch, last)
        self.report(metrics | means(steps))

    def learn_from(self, b: EpisodeBatch, old: Experience, states: States, epoch: int) -> Metrics:
        """Take one step of the policy and one of the critic on a minibatch of an epoch, counted from 0.

        A subclass with further networks adds their steps.
        """
        return self._improve_policy(b, old, states) | self._improve_critic(b, old, states)

    def _minibatches(self, batch: TensorDictBase) -> Sequence[Tensor]:
        """Return the sequences [N'] of each minibatch of an epoch; all processes have equally many minibatches."""
        order = torch.randperm(len(batch)).to(batch.get(keys.REWARD).device)
        environments = int(batch.get(keys.ENVIRONMENT)[-1]) + 1  # each has at least one sequence
        return order.tensor_split(min(self.minibatches, environments))

    @torch.no_grad()
    def _evaluate_rollout(self, b: EpisodeBatch, states: States) -> tuple[Experience, Metrics, States]:
        """Evaluate the rollout before any parameter changes.

        Returns:
            Log-probabilities, values, advantages and returns; metrics; and the recurrent states after the rollout.
        """
        log_pi, last_policy = self._log_policy(b, b.visible, states)
        value, last_critic = self._values(b, states)
        last = {"policy": last_policy} | ({} if last_critic is None else {"critic": last_critic})
        reward, metrics, further = self.augmented_reward(b, log_pi, states)
        scaled_value = self.return_scale.to_return(value)
        advantage, returns = advantages(b, reward, scaled_value, self.gamma, self.gae_lambda)
        self.return_scale.update(returns[b.played])
        normalized, std = ppo.normalized(advantage, b.deciding)
        metrics |= {
            "value/mean": b.mean_of_played(scaled_value),
            "value/explained_variance": ppo.explained_variance(scaled_value[b.played], returns[b.played]),
            "advantage/deviation": std,
        }
        return Experience(info.of_action(log_pi, b.action), value, normalized, returns), metrics, {**last, **further}

    def augmented_reward(self, b: EpisodeBatch, log_pi: Tensor, states: States) -> tuple[Tensor, Metrics, States]:
        """Return the reward to learn from. It is the environment's; a subclass may change it.

        Args:
            b: the rollout.
            log_pi: [L, A, U], log-probabilities of the policy.
            states: recurrent states before the rollout, by name of the network.

        Returns:
            The reward [L]; metrics of the policy; and the recurrent states after the rollout of the networks that are
            computed here alone.
        """
        return b.reward, {"policy/entropy": info.masked_mean(info.entropy(log_pi), b.deciding)}, {}

    def _improve_policy(self, b: EpisodeBatch, old: Experience, states: States) -> Metrics:
        """Take one step of the policy on the clipped surrogate loss and the entropy bonus."""
        log_pi, _ = self._log_policy(b, b.visible, states)
        log_prob = info.of_action(log_pi, b.action)
        loss = ppo.surrogate_loss(log_prob, old.log_prob, old.advantage, b.deciding, self.clip)
        kl, clipped = ppo.divergence(log_prob.detach(), old.log_prob, b.deciding, self.clip)
        metrics = {"loss/policy": loss.detach(), "policy/kl_to_old": kl, "policy/clipped": clipped}
        if self.entropy_bonus > 0.0:
            loss = loss - self.entropy_bonus * info.masked_mean(info.entropy(log_pi), b.deciding)
        return metrics | {"gradient_norm/policy": self.descend("policy", loss)}

    def _improve_critic(self, b: EpisodeBatch, old: Experience, states: States) -> Metrics:
        """Take one step of the critic on its regression to the normalised returns."""
        value, _ = self._values(b, states)
        target = self.return_scale.to_value(old.returns)
        value, old_value, target = (x[b.played] for x in (value, old.value, target))
        loss = ppo.value_loss(value, old_value, target, self.value_clip, self.huber_delta)
        return {"loss/value": loss.detach(), "gradient_norm/critic": self.descend("critic", loss)}

    # ------------------------------------------------------------------ networks on a batch

    def _log_policy(self, b: EpisodeBatch, view: Tensor, states: States) -> tuple[Tensor, Tensor]:
        """Return log pi_i(u | s) [L, A, U] under a view [L, A, E], and the recurrent states [N, A, hidden] after it.

        Rows of agents that do not decide are undefined.
        """
        initial = states["policy"].unsqueeze(1) if "policy" in states else None
        seen, last = self.agent.trunk(b.inputs, view.unsqueeze(1), b.decisions, initial)
        return info.log_policy(self.agent.policy_logits(seen.view(FULL)), b.available), last.squeeze(1)

    def _values(self, b: EpisodeBatch, states: States) -> tuple[Tensor, Tensor | None]:
        """Return the normalised values [L] of all observed steps, and the states [N, 1, hidden] of a recurrent critic.

        The states are those after the last played step, because the next rollout begins with the following observation.
        """
        initial = states["critic"][:, 0] if "critic" in states else None
        value, after = self.critic(b.inputs, b.present.any(dim=1), b.steps, initial)
        return value, None if after is None else after[b.steps.starts[1:] - 2].unsqueeze(1)
