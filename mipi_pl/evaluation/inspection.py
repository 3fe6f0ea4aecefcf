"""Network outputs of an actor in each step of an episode: probabilities, utilities, attention, cost of information.

The outputs come from the actor's own networks, and the probabilities are the numbers that the actor used.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from mipi_pl import spec as keys
from mipi_pl.actor import Actor, Thought
from mipi_pl.losses.information import expectation, log_policy
from mipi_pl.models.packing import PackedSteps
from mipi_pl.models.targets import Perceived
from mipi_pl.utils.errors import DivergedError


@dataclass(frozen=True)
class Insight:
    """Network outputs in the T steps of one episode; None where an algorithm has no such output.

    Attributes:
        probabilities: [T, A, U], action probabilities of the policy.
        marginal: [T, A, U], action probabilities of the marginal policy.
        kl: [T, A], KL divergence of the policy from the marginal policy in nats: the agent's cost of information.
        utilities: [T, A, U], utility of each action.
        attention: [T, A, E], mean over the heads; rows sum to 1, or are 0 for agents that see nothing.
    """

    probabilities: Tensor | None = None
    marginal: Tensor | None = None
    kl: Tensor | None = None
    utilities: Tensor | None = None
    attention: Tensor | None = None


class InspectedPolicy:
    """A policy that records the network inputs and outputs of an actor.

    Args:
        actor: actor to record.
        marginal: network with the interface of `mipi_pl.models.marginal.MarginalPolicy`; None if the algorithm has
            none.
        utilities: whether the utility head was trained.
    """

    def __init__(self, actor: Actor, marginal: nn.Module | None = None, utilities: bool = True) -> None:
        self.actor = actor
        self.marginal = marginal
        self.utilities = utilities
        self.thoughts: list[Thought] = []

    def __call__(self, td: TensorDictBase) -> TensorDictBase:
        """Act, and record the step."""
        td = self.actor(td)
        assert self.actor.thought is not None
        self.thoughts.append(self.actor.thought)
        return td

    @torch.no_grad()
    def insight(self, index: int, start: int, length: int) -> Insight:
        """Return the network outputs of environment `index` in an episode of `length` steps.

        Args:
            index: environment.
            start: number of the first step of the episode, among all steps that were recorded.
            length: number of steps.

        Raises:
            DivergedError: if an output is not finite.
        """
        thoughts = self.thoughts[start : start + length]

        def recorded(name: str) -> Tensor:
            return torch.stack([getattr(thought, name)[index] for thought in thoughts])

        perceived = [vars(thought.seen) for thought in thoughts]
        seen = Perceived(**{name: torch.stack([step[name][index] for step in perceived]) for name in perceived[0]})
        agent, available = self.actor.agent, recorded("available")
        insight: dict[str, Tensor] = {}
        if hasattr(agent.trunk, "attention_weights"):
            weights: Tensor = agent.trunk.attention_weights(seen.entities, seen.views)  # type: ignore[operator]
            insight["attention"] = weights.mean(dim=1)
        if self.utilities:
            insight["utilities"] = agent.utilities(seen)
        if agent.policy_logits is not None:
            insight["probabilities"] = recorded("probabilities")
            if self.marginal is not None:
                n_agents, n_entities = seen.views.shape[1:]
                steps = PackedSteps.from_mask(torch.ones(1, length, dtype=torch.bool, device=seen.views.device))
                steps = steps.with_acting(keys.acting(seen.views))
                logits, _ = self.marginal(seen.entities[:, :n_agents], steps, n_entities)
                log_marginal = log_policy(logits, available.to(logits.device))
                log_pi = log_policy(agent.policy_logits(seen), available.to(logits.device))
                insight["marginal"], insight["kl"] = log_marginal.exp(), expectation(log_pi, log_pi - log_marginal)
        for name, tensor in insight.items():
            if not tensor.isfinite().all():
                raise DivergedError(f"the networks diverged: {name} is not finite")
        return Insight(**{name: tensor.cpu() for name, tensor in insight.items()})
