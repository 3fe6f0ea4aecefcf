"""Double Q-learning of a mixed joint value: REFIL, and as its options AQMIX and VDN (Iqbal et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torch.optim import Optimizer

from mipi_pl.algorithms.base import Metrics, OptimizerFactory
from mipi_pl.algorithms.batch import FULL, EpisodeBatch
from mipi_pl.algorithms.joint_value import JointValueAlgorithm
from mipi_pl.losses import information as info
from mipi_pl.losses.td import greedy_actions
from mipi_pl.spec import EntitySpec
from models.agent import Agent
from models.mixers import Mixer
from models.targets import Perceived


class QLearning(JointValueAlgorithm):
    """Utilities without a policy: the agents act epsilon-greedily in them, and greedily when they are evaluated.

    REFIL is `imaginary_weight` 0.5 with the attention mixer and its ELU, AQMIX the same with 0, VDN 0 with the sum.

    Args:
        spec: sizes of the world.
        agent: factory of trunk and utilities; takes n_features, n_actions and targets.
        mixer: factory of the mixer; takes n_features, n_actions and n_agents.
        critic_optimizer: factory of the optimizer of agent and mixer.
        gamma: discount per step.
        td_lambda: 0 for REFIL's one-step target. Above 0 the target follows what was played, exploration included.
        imaginary_weight: lambda, weight of the imaginary objective in the loss.
        truncation_is_terminal: no value after the time limit (REFIL's default).
        gradient_clip: largest gradient norm of one optimizer step.
        target_networks: whether targets come from copies that follow now and then, or from the networks themselves.

    Raises:
        ValueError: for values out of range.
    """

    optimizer_names = ("critic",)

    def __init__(
        self,
        spec: EntitySpec,
        agent: Callable[..., Agent],
        mixer: Callable[..., Mixer],
        critic_optimizer: OptimizerFactory,
        gamma: float = 0.99,
        td_lambda: float = 0.0,
        imaginary_weight: float = 0.5,
        truncation_is_terminal: bool = True,
        gradient_clip: float = 10.0,
        target_networks: bool = True,
    ) -> None:
        super().__init__(
            spec, gamma, td_lambda, imaginary_weight, truncation_is_terminal, gradient_clip, target_networks
        )
        self._optimizer_factory = critic_optimizer
        self.agent = agent(**self._network_sizes, targets=spec.targets)
        self.mixer = mixer(**self._network_sizes, n_agents=spec.n_agents)
        self.make_targets()

    def configure_optimizers(self) -> list[Optimizer]:
        """One, of agent and mixer."""
        return [self._optimizer_factory([*self.agent.parameters(), *self.mixer.parameters()])]

    # ------------------------------------------------------------------ the learning step

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """One step on the TD loss of a batch of episodes."""
        b = EpisodeBatch.from_tensordict(batch, self.spec, self.truncation_is_terminal)
        loss, metrics = self._loss(b)
        self.report(metrics | {"gradient_norm/critic": self.descend(0, loss)})

    def _loss(self, b: EpisodeBatch) -> tuple[Tensor, Metrics]:
        seen = self._perceive(b, self._critic_views(b, b.visible))
        return self._td_loss(b, seen, self._td_targets(b, seen.view(FULL).detach()))

    @torch.no_grad()
    def _td_targets(self, b: EpisodeBatch, seen: Perceived) -> Tensor:
        """Double Q-learning, for the played steps [P]: u' is best for the network itself, its value the targets'.

        Without target networks the value is the network's own: Q-learning.
        """
        own = self.agent.utilities(seen)
        value = self._target_utilities(b) if self.target_networks else own
        return self._bootstrapped(b, info.of_action(value, greedy_actions(own, b.available)))
