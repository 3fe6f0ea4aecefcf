"""CollaQ for entity observations, after the equations of the paper (Zhang et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from mipi_pl.algorithms.base import Metrics, OptimizerFactory, require_options
from mipi_pl.algorithms.batch import FULL, EpisodeBatch
from mipi_pl.algorithms.q_learning import QLearning
from mipi_pl.losses import information as info
from mipi_pl.models.collaq import CollaQAgent
from mipi_pl.models.mixers import Mixer
from mipi_pl.models.targets import Perceived
from mipi_pl.spec import EntitySpec


class CollaQ(QLearning):
    """CollaQ: utilities Q_i = Q_alone(o_i^alone) + Q_collab(o_i), mixed and learned as in AQMIX, plus the MARA loss.

    Args:
        spec: sizes of the environment.
        agent: factory of the agent; takes n_features, n_kinds and targets.
        mixer: factory of the mixer; takes n_features, n_kinds and n_agents.
        critic_optimizer: factory of the optimizer of agent and mixer.
        gamma: discount per step.
        td_lambda: lambda of the TD(lambda) target; 0 for the one-step target.
        mara_weight: weight of the MARA loss, which drives Q_collab(o_i^alone) to 0.
        truncation_is_terminal: treat the time limit as termination, i.e. do not bootstrap from the last observation.
        gradient_clip: largest gradient norm of an optimizer step.
        target_networks: compute the TD targets with copies of the networks that are updated from time to time; False:
            with the networks themselves (for fresh episodes).

    Raises:
        ValueError: for values out of range.
    """

    agent: CollaQAgent

    def __init__(
        self,
        spec: EntitySpec,
        agent: Callable[..., CollaQAgent],
        mixer: Callable[..., Mixer],
        critic_optimizer: OptimizerFactory,
        gamma: float = 0.99,
        td_lambda: float = 0.0,
        mara_weight: float = 1.0,
        truncation_is_terminal: bool = True,
        gradient_clip: float = 10.0,
        target_networks: bool = True,
    ) -> None:
        require_options(0, mara_weight=mara_weight)
        super().__init__(
            spec,
            agent,
            mixer,
            critic_optimizer,
            gamma=gamma,
            td_lambda=td_lambda,
            imaginary_weight=0.0,
            truncation_is_terminal=truncation_is_terminal,
            gradient_clip=gradient_clip,
            target_networks=target_networks,
        )
        self.mara_weight = mara_weight

    def critic_loss(self, b: EpisodeBatch) -> tuple[Tensor, Metrics]:
        """Return the TD loss plus the weighted MARA loss, and metrics."""
        seen, alone = self.agent.trunk.attributed(b.inputs, b.visible.unsqueeze(1), b.steps)
        loss, metrics = self._td_loss(b, seen, self.td_targets(b, seen.view(FULL).detach()))
        mara = self._mara(b, alone.view(FULL))
        return loss + self.mara_weight * mara, metrics | {"loss/mara": mara.detach()}

    def _mara(self, b: EpisodeBatch, alone: Perceived) -> Tensor:
        """Return the MARA loss: the mean of Q_collab(o_i^alone, u_i)^2 over the actions taken."""
        taken = info.of_action(self.agent.utilities.collab(alone), b.action)
        return info.masked_mean(taken.square(), b.deciding)
