"""Actor: recurrent action selection for a batch of environments, greedy or with exploration."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from mipi_pl import spec as keys
from mipi_pl.losses.information import log_policy
from mipi_pl.losses.td import greedy_actions
from mipi_pl.models.agent import Agent
from mipi_pl.models.attention import with_last_action
from mipi_pl.models.packing import PackedSteps
from mipi_pl.models.targets import Perceived
from mipi_pl.utils.errors import DivergedError, UserError


@dataclass(frozen=True)
class Thought:
    """Intermediate results of an actor's last decision.

    Attributes:
        seen: [B, ...], input of the agent's heads.
        available: bool [B, A, U], available actions.
        probabilities: [B, A, U], probabilities before exploration; if it maximises utilities, 1 for the best action.
        action: int64 [B, A], chosen actions.
    """

    seen: Perceived
    available: Tensor
    probabilities: Tensor
    action: Tensor


class Actor(nn.Module):
    """Chooses actions for B environments and stores the recurrent state and the last action of each.

    An agent with a policy head samples from its policy. An agent without one takes the action of highest utility. The
    state of an environment is reset where ``is_init`` is True. The networks are those of the algorithm, not copies.

    Args:
        agent: trunk and heads.
        greedy: take the most probable action instead of sampling.
        seed: seed of the sampled actions.
        by_utilities: take the action of highest utility even if the agent has a policy.

    Attributes:
        epsilon: share of uniform exploration mixed into the policy's probabilities.
        hold: mean number of steps for which an exploring agent keeps its action; 1 to sample in every step.
        thought: intermediate results of the last decision; None before the first.
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
        """Write the chosen actions ``("agents", "action")`` [B, A] to `td`, which holds the observations.

        Raises:
            DivergedError: if probabilities or utilities are not finite.
            UserError: if they are not, because features of the observation are NaN or infinite.
        """
        available = td.get(keys.ACTION_MASK)
        can_act = available.any(dim=-1)
        seen = self._perceive(td)
        probabilities = self._probabilities(seen, available)
        if self.greedy:
            action = probabilities.argmax(dim=-1)
        else:
            drawable = available | ~can_act.unsqueeze(-1)  # an agent that cannot act draws any action
            uniform = drawable / drawable.sum(dim=-1, keepdim=True)
            if self.hold > 1.0:
                action = self._held(probabilities.cpu(), uniform.cpu(), td.get(keys.IS_INIT).cpu()).to(available.device)
            else:
                action = self._drawn(torch.lerp(probabilities, uniform, self.epsilon).cpu()).to(available.device)
        action = action.masked_fill(~can_act, 0)  # an agent that cannot act has no choice to remember
        self._last_action = action
        self.thought = Thought(seen, available, probabilities, action)
        return td.set(keys.ACTION, action)

    def _drawn(self, probabilities: Tensor) -> Tensor:
        flat = torch.multinomial(probabilities.flatten(0, 1), 1, generator=self.generator)
        return flat.view(probabilities.shape[:-1])

    def _held(self, probabilities: Tensor, uniform: Tensor, fresh: Tensor) -> Tensor:
        """Sample actions with exploration phases of `hold` steps on average, in a share epsilon of all steps.

        During a phase, an agent keeps its action. The share is smaller in the first steps of an episode, because every
        agent starts it without exploring, and where the kept action becomes unavailable, because that ends the phase.
        """
        shape = uniform.shape[:-1]
        if self._exploring is None or self._exploring.shape != shape:
            self._exploring = torch.zeros(shape, dtype=torch.bool)
        random = torch.rand(2, *shape, generator=self.generator)
        assert self._last_action is not None, "_perceive must be called first"
        last = self._last_action.cpu().clamp(max=uniform.shape[-1] - 1)  # a fresh row has no last action
        may_hold = uniform.gather(-1, last.unsqueeze(-1)).squeeze(-1) > 0
        continues = self._exploring & ~fresh & may_hold & (random[0] >= 1.0 / self.hold)
        begins = ~continues & (random[1] < self.epsilon / (self.epsilon + self.hold * (1.0 - self.epsilon)))
        sampled = self._drawn(torch.where(begins.unsqueeze(-1), uniform, probabilities))
        self._exploring = continues | begins
        return torch.where(continues, last, sampled)

    def _probabilities(self, seen: Perceived, available: Tensor) -> Tensor:
        """Return the probabilities of the actions [B, A, U], before exploration.

        Raises:
            DivergedError: if probabilities or utilities are not finite.
            UserError: if they are not, because features of the observation are NaN or infinite.
        """
        policy = None if self.by_utilities else self.agent.policy_logits
        if policy is not None:
            probabilities = log_policy(policy(seen).to(available.device), available).exp()
            if not probabilities.isfinite().all():  # the argmax would hide it
                raise _cause(seen, "the policy diverged: its probabilities are not finite")
            return probabilities
        utilities = self.agent.utilities(seen).to(available.device)
        if not utilities.isfinite().all():
            raise _cause(seen, "the critic diverged: its utilities are not finite")
        best = greedy_actions(utilities, available)
        return nn.functional.one_hot(best, available.shape[-1]).to(utilities)

    def memory(self) -> dict[str, Tensor | None]:
        """Return the state of all environments and of the random generator, without the networks."""
        tensors = {"state": self._state, "last_action": self._last_action, "exploring": self._exploring}
        # On the CPU, because each process of a run has its own device and one checkpoint holds the states of all.
        on_cpu = {name: tensor if tensor is None else tensor.cpu().clone() for name, tensor in tensors.items()}
        return {"draws": self.generator.get_state(), **on_cpu}

    def remember(self, memory: dict[str, Tensor | None]) -> None:
        """Restore the state that `memory` returned."""
        draws = memory["draws"]
        assert draws is not None
        self.generator.set_state(draws)
        self._state, self._last_action = memory["state"], memory["last_action"]
        self._exploring = memory.get("exploring")  # older checkpoints lack it

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
        perceived: Perceived = seen.view(0)
        return perceived


def _cause(seen: Perceived, diverged: str) -> Exception:
    """Return the error for outputs that are not finite: the observation's fault if it is not finite either."""
    finite = seen.entities.isfinite()
    if finite.all():
        return DivergedError(diverged)
    environment, slot, feature = (~finite).nonzero()[0].tolist()
    return UserError(
        f"expected finite features of entities, got NaN or infinity in environment {environment}, slot {slot}, "
        f"feature {feature}"
    )
