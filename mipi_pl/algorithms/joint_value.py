"""Base class of MIPI and the value-based learners: fits the mixed utilities, the joint value, to TD targets."""

from __future__ import annotations

import torch
from torch import Tensor

from mipi_pl.algorithms.base import EntityAlgorithm, Metrics, require_options
from mipi_pl.algorithms.batch import FULL, INTERACT, WITHIN, EpisodeBatch
from mipi_pl.losses import information as info
from mipi_pl.losses.td import lambda_targets
from mipi_pl.models.agent import Agent
from mipi_pl.models.mixers import Mixer, MixerWeights
from mipi_pl.models.targets import Perceived
from mipi_pl.spec import EntitySpec


class JointValueAlgorithm(EntityAlgorithm):
    """Agent and mixer with target networks, trained with REFIL's loss (1 - lambda) L_Q + lambda L_imagined.

    A subclass creates `agent` and `mixer`, then calls `make_targets`.

    Args:
        spec: sizes of the environment.
        gamma: discount per step.
        td_lambda: lambda of the TD(lambda) target; 0 for one-step targets.
        imaginary_weight: lambda of the loss, weight of the imaginary objective.
        truncation_is_terminal: treat the time limit as termination, i.e. do not bootstrap from the last observation
            (REFIL's default).
        gradient_clip: largest gradient norm of an optimizer step.
        target_networks: compute the TD targets with copies of the networks that are updated from time to time; False:
            with the networks themselves (for fresh episodes).

    Raises:
        ValueError: for values out of range.
    """

    on_policy = False
    trains_utilities = True
    without_partitions: tuple[str, ...] = ("algorithm.imaginary_weight=0",)
    agent: Agent
    mixer: Mixer
    target_agent: Agent
    target_mixer: Mixer

    def __init__(
        self,
        spec: EntitySpec,
        *,
        gamma: float,
        td_lambda: float,
        imaginary_weight: float,
        truncation_is_terminal: bool,
        gradient_clip: float,
        target_networks: bool = True,
    ) -> None:
        super().__init__(spec, gradient_clip)
        require_options(0, 1, gamma=gamma, td_lambda=td_lambda, imaginary_weight=imaginary_weight)
        self.gamma, self.td_lambda, self.imaginary_weight = gamma, td_lambda, imaginary_weight
        self.truncation_is_terminal = truncation_is_terminal
        self.target_networks = target_networks

    @property
    def partitions_per_batch(self) -> int:
        """G, number of imaginary partitions that a batch needs: one for the imaginary objective."""
        return int(self.imaginary_weight > 0.0)

    def make_targets(self) -> None:
        """Create the target networks of agent and mixer, if `target_networks` is set."""
        if not self.target_networks:
            return
        self.target_agent = self.with_target(self.agent)
        self.target_mixer = self.with_target(self.mixer)

    # ------------------------------------------------------------------ the loss

    def _td_loss(self, b: EpisodeBatch, seen: Perceived, target: Tensor) -> tuple[Tensor, Metrics]:
        """Return (1 - lambda) L_Q + lambda L_imagined and metrics.

        Args:
            b: the batch.
            seen: features under the views of `_critic_views`.
            target: [P], TD targets of the played steps.
        """
        utilities = self.agent.utilities(seen.rows(b.played))
        chosen = info.of_action(utilities, b.action[b.played].unsqueeze(1).expand(utilities.shape[:-1]))
        weights = self._weights(self.mixer, b, self._critic_views(b, b.present), b.played)
        joint = self.mixer.mix(chosen[:, :1], weights, [FULL])
        loss_td = loss = info.mean_square(joint - target)
        metrics = {"loss/td": loss_td, "td_error": (joint - target).abs().mean(), "value/joint": joint.mean()}
        if self.imaginary_weight > 0.0:
            imagined = self.mixer.mix(chosen[:, 1:], weights, [WITHIN, INTERACT])
            loss_imagined = info.mean_square(imagined - target)
            loss = torch.lerp(loss_td, loss_imagined, self.imaginary_weight)
            metrics["loss/imagined"] = loss_imagined
        metrics["mixer/weight"] = info.masked_mean(weights.of_agents(), b.acting[b.played])
        return loss, {name: value.detach() for name, value in metrics.items()}

    def target_utilities(self, b: EpisodeBatch) -> Tensor:
        """Return the utilities [L, A, U] of the target network."""
        seen = self._perceive(b, b.visible.unsqueeze(1), self.target_agent).view(FULL)
        utilities: Tensor = self.target_agent.utilities(seen)
        return utilities

    def bootstrapped(self, b: EpisodeBatch, utility: Tensor, cost: Tensor | None = None) -> Tensor:
        """Return the TD targets [P] of the played steps.

        Args:
            b: the batch.
            utility: [L, A], utility of the target network for the agent's action in the step, or its expectation.
            cost: [L, A], information cost of the same action, or its expectation; None for no cost.
        """
        after = b.played + 1
        mixer = self.target_mixer if self.target_networks else self.mixer
        weights = self._weights(mixer, b, b.present.unsqueeze(1), after)
        value = mixer.mix(utility[after].unsqueeze(1), weights, [FULL])
        team_cost = torch.zeros_like(value) if cost is None else torch.where(b.acting, cost, 0.0).sum(dim=-1)[after]
        value = value - team_cost
        reward, value, team_cost, bootstraps, played = b.on_grid(b.reward[b.played], value, team_cost)
        targets = lambda_targets(reward, value, team_cost, bootstraps, played, self.gamma, self.td_lambda)
        return b.steps.pack(targets)[b.played]

    # ------------------------------------------------------------------ networks on a batch

    def _critic_views(self, b: EpisodeBatch, mask: Tensor) -> Tensor:
        """Return the views [L, 1 or 3, A, E]: `FULL`, and `WITHIN` and `INTERACT` for the imaginary objective."""
        imagined = [b.within(mask, 0), b.interact(mask, 0)] if self.imaginary_weight > 0.0 else []
        return torch.stack([mask, *imagined], dim=1)

    def _perceive(self, b: EpisodeBatch, views: Tensor, agent: Agent | None = None) -> Perceived:
        seen: Perceived = (agent or self.agent).trunk(b.inputs, views, b.steps)[0]
        return seen

    @staticmethod
    def _weights(mixer: Mixer, b: EpisodeBatch, views: Tensor, rows: Tensor) -> MixerWeights:
        return mixer.weights(b.inputs[rows], views[rows], b.acting[rows])
