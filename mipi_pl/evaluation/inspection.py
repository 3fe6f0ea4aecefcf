"""What agents go by in each step of an episode: probabilities, utilities, attention, the price of information.

Everything comes from the networks that the actor uses, and the probabilities are the very numbers it acted with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from mipi_pl import spec as keys
from mipi_pl.actor import Actor, Thought
from mipi_pl.losses.information import expectation, log_policy
from mipi_pl.utils.checks import DivergedError
from models.packing import PackedSteps
from models.targets import Perceived


@dataclass(frozen=True)
class Insight:
    """What the agents went by in the T steps of one episode; None where an algorithm has no such thing.

    Attributes:
        probabilities: [T, A, U] of the policy.
        marginal: [T, A, U], probabilities of the marginal policy.
        kl: [T, A], of the policy from the marginal, in nats: what the agent pays for information in this step.
        utilities: [T, A, U].
        attention: [T, A, E], mean over the heads; rows sum to 1, or are 0 for those that see nothing.
    """

    probabilities: Tensor | None = None
    marginal: Tensor | None = None
    kl: Tensor | None = None
    utilities: Tensor | None = None
    attention: Tensor | None = None


class InspectedPolicy:
    """An actor, whose thoughts are kept.

    Args:
        actor: what acts.
        marginal: called as `models.marginal.MarginalPolicy` is; None where nothing is paid for information.
        utilities: whether the head of utilities has been learned.
    """

    def __init__(self, actor: Actor, marginal: nn.Module | None = None, utilities: bool = True) -> None:
        self.actor = actor
        self.marginal = marginal
        self.utilities = utilities
        self.thoughts: list[Thought] = []

    def __call__(self, td: TensorDictBase) -> TensorDictBase:
        """Act and remember."""
        td = self.actor(td)
        assert self.actor.thought is not None
        self.thoughts.append(self.actor.thought)
        return td

    @torch.no_grad()
    def insight(self, index: int, length: int) -> Insight:
        """The first `length` steps of environment `index`.

        Raises:
            DivergedError: if the networks give numbers that are not finite.
        """

        def of(name: str) -> Tensor:
            return torch.stack([getattr(thought, name)[index] for thought in self.thoughts[:length]])

        perceived = [vars(thought.seen) for thought in self.thoughts[:length]]
        seen = Perceived(**{name: torch.stack([step[name][index] for step in perceived]) for name in perceived[0]})
        agent, available = self.actor.agent, of("available")
        weights: Tensor = agent.trunk.attention_weights(seen.entities, seen.views)  # type: ignore[operator]
        insight = {"attention": weights.mean(dim=1)}
        if self.utilities:
            insight["utilities"] = agent.utilities(seen)
        if agent.policy is not None:
            insight["probabilities"] = of("probabilities")
            if self.marginal is not None:
                n_agents, n_entities = seen.views.shape[1:]
                whole = PackedSteps.of(torch.ones(1, length, dtype=torch.bool, device=weights.device))
                whole = whole.with_acting(keys.acting(seen.views))
                logits, _ = self.marginal(seen.entities[:, :n_agents], whole, n_entities)
                log_marginal = log_policy(logits, available.to(logits.device))
                log_pi = log_policy(agent.policy(seen), available.to(logits.device))
                insight["marginal"], insight["kl"] = log_marginal.exp(), expectation(log_pi, log_pi - log_marginal)
        for name, tensor in insight.items():
            if not tensor.isfinite().all():
                raise DivergedError(f"the networks diverged: {name} is not finite")
        return Insight(**{name: tensor.cpu() for name, tensor in insight.items()})
