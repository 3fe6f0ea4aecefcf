"""The agents as they act: recurrent, one instance per batch of environments, greedy or exploring."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from mipi_pl import spec as keys
from mipi_pl.losses.information import log_policy
from mipi_pl.losses.td import greedy_actions
from mipi_pl.utils.checks import DivergedError
from models.agent import Agent
from models.attention import with_last_action
from models.packing import PackedSteps
from models.targets import Perceived


@dataclass(frozen=True)
class Thought:
    """What an actor went by when it last acted.

    Attributes:
        seen: [B, ...], what the heads of the agent are given.
        available: bool [B, A, U].
        probabilities: [B, A, U] before exploration; of an agent that has utilities alone, 1 for the best of them.
        action: int64 [B, A].
    """

    seen: Perceived
    available: Tensor
    probabilities: Tensor
    action: Tensor


class Actor(nn.Module):
    """Chooses actions for B environments and remembers each one's recurrent state and last action.

    An agent with a policy head draws from its policy; one that has utilities alone takes the best of them.
    A row starts afresh where ``is_init`` is True. The networks are the algorithm's own, not a copy.

    Args:
        agent: trunk and heads.
        greedy: the most probable action instead of a draw.
        seed: of the draws.
        by_utilities: take the best utility even where there is a policy.

    Attributes:
        epsilon: share of uniform exploration mixed into the policy's probabilities.
        hold: mean number of steps for which an agent that explores keeps its action; 1 draws anew in every step.
        thought: what it went by when it last acted; None before.
    """

    thought: Thought | None = None

    def __init__(self, agent: Agent, greedy: bool, seed: int = 0, by_utilities: bool = False) -> None:
        super().__init__()
        self.by_utilities = by_utilities
        self.agent = agent
        self.greedy = greedy
        self.epsilon = 0.0
        self.hold = 1.0
        self.generator = torch.Generator().manual_seed(seed)
        self._state: Tensor | None = None
        self._last_action: Tensor | None = None
        self._exploring: Tensor | None = None

    @torch.no_grad()
    def forward(self, td: TensorDictBase) -> TensorDictBase:
        """Write ``("agents", "action")`` [B, A] for the observation in `td`."""
        available = td.get(keys.ACTION_MASK)
        seen = self._perceive(td)
        probabilities = self._probabilities(seen, available)
        if self.greedy:
            action = probabilities.argmax(dim=-1)
        else:
            uniform = available / available.sum(dim=-1, keepdim=True)
            if self.hold > 1.0:
                action = self._held(probabilities.cpu(), uniform.cpu(), td.get(keys.IS_INIT).cpu()).to(available.device)
            else:
                action = self._drawn(torch.lerp(probabilities, uniform, self.epsilon).cpu()).to(available.device)
        self._last_action = action
        self.thought = Thought(seen, available, probabilities, action)
        return td.set(keys.ACTION, action)

    def _drawn(self, probabilities: Tensor) -> Tensor:
        if not probabilities.isfinite().all():
            raise DivergedError("the policy diverged: its probabilities are not finite")
        flat = torch.multinomial(probabilities.flatten(0, 1), 1, generator=self.generator)
        return flat.view(probabilities.shape[:-1])

    def _held(self, probabilities: Tensor, uniform: Tensor, fresh: Tensor) -> Tensor:
        """Actions of agents that explore in stretches of `hold` steps on average, in a share epsilon of their steps.

        Of an episode's first steps the share is smaller, as every agent begins it without exploring; so it is where
        the action that is kept becomes unavailable, which ends a stretch.
        """
        shape = uniform.shape[:-1]
        if self._exploring is None or self._exploring.shape != shape:
            self._exploring = torch.zeros(shape, dtype=torch.bool)
        luck = torch.rand(2, *shape, generator=self.generator)
        assert self._last_action is not None, "perceiving comes first"
        last = self._last_action.cpu().clamp(max=uniform.shape[-1] - 1)  # there is none yet in a fresh row
        may_hold = uniform.gather(-1, last.unsqueeze(-1)).squeeze(-1) > 0
        goes_on = self._exploring & ~fresh & may_hold & (luck[0] >= 1.0 / self.hold)
        begins = ~goes_on & (luck[1] < self.epsilon / (self.epsilon + self.hold * (1.0 - self.epsilon)))
        drawn = self._drawn(torch.where(begins.unsqueeze(-1), uniform, probabilities))
        self._exploring = goes_on | begins
        return torch.where(goes_on, last, drawn)

    def _probabilities(self, seen: Perceived, available: Tensor) -> Tensor:
        """Of the actions [B, A, U], before exploration."""
        policy = None if self.by_utilities else self.agent.policy
        if policy is not None:
            return log_policy(policy(seen).to(available.device), available).exp()
        utilities = self.agent.utilities(seen).to(available.device)
        if not utilities.isfinite().all():  # an order among them would hide it
            raise DivergedError("the critic diverged: its utilities are not finite")
        best = greedy_actions(utilities, available)
        return nn.functional.one_hot(best, available.shape[-1]).to(utilities)

    def memory(self) -> dict[str, Tensor | None]:
        """What it remembers of its environments, and the state of its draws; the networks are saved elsewhere."""
        copies = {"state": self._state, "last_action": self._last_action, "exploring": self._exploring}
        # On the processor: in a checkpoint of several processes each has a device of its own.
        on_cpu = {name: tensor if tensor is None else tensor.cpu().clone() for name, tensor in copies.items()}
        return {"draws": self.generator.get_state(), **on_cpu}

    def remember(self, memory: dict[str, Tensor | None]) -> None:
        """Go on from what `memory` gave."""
        draws = memory["draws"]
        assert draws is not None
        self.generator.set_state(draws)
        self._state, self._last_action = memory["state"], memory["last_action"]
        self._exploring = memory.get("exploring")  # checkpoints of before it was there have none

    def _perceive(self, td: TensorDictBase) -> Perceived:
        device = next(self.agent.parameters()).device
        entities, visible = td.get(keys.ENTITIES).to(device), td.get(keys.VISIBLE).to(device)
        fresh = td.get(keys.IS_INIT).to(device)
        shape, n_actions = visible.shape[:2], td.get(keys.ACTION_MASK).shape[-1]
        if self._state is None or self._last_action is None or self._state.shape[:2] != shape:
            self._state = entities.new_zeros(*shape, self.agent.hidden)
            self._last_action = torch.full(shape, n_actions, device=device)
        state = self._state.to(device).masked_fill(fresh.unsqueeze(-1), 0.0)
        last_action = self._last_action.to(device).masked_fill(fresh, n_actions)
        kind = self.agent.kinds.of_actions(*visible.shape[1:]).to(device)[last_action]
        inputs = with_last_action(entities, kind, self.agent.kinds.n_kinds)
        one_step = PackedSteps.from_mask(torch.ones(shape[0], 1, dtype=torch.bool, device=device))
        one_step = one_step.with_acting(keys.acting(visible))
        seen, last = self.agent.trunk(inputs, visible.unsqueeze(1), one_step, state.unsqueeze(1))
        self._state = last.squeeze(1)
        found: Perceived = seen.view(0)
        return found
