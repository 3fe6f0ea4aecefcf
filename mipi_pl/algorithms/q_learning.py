"""Double Q-learning of a mixed joint value: REFIL, with AQMIX and VDN as options (Iqbal et al. 2021)."""

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
from mipi_pl.models.agent import Agent
from mipi_pl.models.mixers import Mixer
from mipi_pl.models.targets import Perceived
from mipi_pl.spec import EntitySpec


class QLearning(JointValueAlgorithm):
    """Double Q-learning with epsilon-greedy agents, which act greedily in evaluation.

    REFIL uses the attention mixer with ELU and an `imaginary_weight` of 0.5. AQMIX is the same with a weight of 0. VDN
    uses the sum mixer and a weight of 0.

    Args:
        spec: sizes of the environment.
        agent: factory of trunk and utility head; takes n_features, n_kinds and targets.
        mixer: factory of the mixer; takes n_features, n_kinds and n_agents.
        critic_optimizer: factory of the optimizer of agent and mixer.
        gamma: discount per step.
        td_lambda: lambda of the TD(lambda) target; 0 for REFIL's one-step target. Above 0, the target depends on the
            actions that were played, including exploration.
        imaginary_weight: lambda, weight of the imaginary objective in the loss.
        truncation_is_terminal: treat the time limit as termination, i.e. do not bootstrap from the last observation
            (REFIL's default).
        gradient_clip: largest gradient norm of an optimizer step.
        target_networks: compute the TD targets with copies of the networks that are updated from time to time; False:
            with the networks themselves (for fresh episodes).

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
            spec,
            gamma=gamma,
            td_lambda=td_lambda,
            imaginary_weight=imaginary_weight,
            truncation_is_terminal=truncation_is_terminal,
            gradient_clip=gradient_clip,
            target_networks=target_networks,
        )
        self._optimizer_factory = critic_optimizer
        self.agent = agent(**self._network_sizes, targets=spec.targets)
        self.mixer = mixer(**self._network_sizes, n_agents=spec.n_agents)
        self.make_targets()

    def configure_optimizers(self) -> list[Optimizer]:
        """Return one optimizer for agent and mixer."""
        return [self._optimizer_factory([*self.agent.parameters(), *self.mixer.parameters()])]

    # ------------------------------------------------------------------ the learning step

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """Take one step on the TD loss of a batch of episodes."""
        b = EpisodeBatch.from_tensordict(batch, self.spec, self.truncation_is_terminal)
        loss, metrics = self.critic_loss(b)
        self.report(metrics | {"gradient_norm/critic": self.descend("critic", loss)})

    def critic_loss(self, b: EpisodeBatch) -> tuple[Tensor, Metrics]:
        """Return the TD loss of agent and mixer, and metrics."""
        seen = self._perceive(b, self._critic_views(b, b.visible))
        return self._td_loss(b, seen, self.td_targets(b, seen.view(FULL).detach()))

    @torch.no_grad()
    def td_targets(self, b: EpisodeBatch, seen: Perceived) -> Tensor:
        """Return the double Q-learning targets [P] of the played steps.

        The network chooses the best action u' and the target network evaluates it. Without target networks, the network
        does both: Q-learning.
        """
        own = self.agent.utilities(seen)
        value = self.target_utilities(b) if self.target_networks else own
        return self.bootstrapped(b, info.of_action(value, greedy_actions(own, b.available)))
