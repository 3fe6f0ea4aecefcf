"""The recurrent entity agents: a trunk with a head of utilities, and with a policy head too (architecture of REFIL)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

from torch import nn

from models.targets import ActionHead, ActionKinds
from models.trunk import Trunk


class Agent(nn.Module, ABC):
    """What algorithms and actors know of an agent; the parameters are shared by all agents of a team.

    Args:
        kinds: of its actions.
        hidden: size of the recurrent state of one agent.

    Attributes:
        trunk: called as `models.trunk.Trunk` is, with `attention_weights`; features and state have `hidden` numbers.
        utilities: what the trunk gives to Q_i [..., U].
    """

    trunk: nn.Module
    utilities: nn.Module

    def __init__(self, kinds: ActionKinds, hidden: int) -> None:
        super().__init__()
        self.kinds = kinds
        self.hidden = hidden

    @property
    @abstractmethod
    def policy(self) -> nn.Module | None:
        """The head of logits [..., U] that actions are drawn from; None where the best utility is taken."""


class UtilityAgent(Agent):
    """Utilities Q_i on a trunk: the agent of the value-based algorithms.

    Args:
        n_features: F.
        n_actions: K, kinds of action: U where none aims at an entity.
        width: embedding of entities and attention (128 in the paper).
        heads: attention heads (4).
        hidden: recurrent state (64).
        own_entity_only: the agent sees its own entity alone: the ablation alpha = infinity of appendix D.2.
        targets: groups of entities that the last kinds of action aim at; see `models.targets`.
        own_path: see `models.trunk.Trunk`.
        normalize: see `models.trunk.Trunk`.
        pair_units: units of the pair scores of target actions; 0 for none. See `models.targets.PairScores`.

    Examples:
        >>> import torch
        >>> from models.packing import PackedSteps
        >>> agent = UtilityAgent(n_features=3, n_actions=5, width=8, heads=2, hidden=4)
        >>> steps = PackedSteps.from_mask(torch.ones(2, 7, dtype=torch.bool))
        >>> seen, state = agent.trunk(torch.zeros(14, 6, 8), torch.ones(14, 1, 4, 6, dtype=torch.bool), steps)
        >>> agent.utilities(seen).shape
        torch.Size([14, 1, 4, 5])
    """

    def __init__(
        self,
        n_features: int,
        n_actions: int,
        width: int = 128,
        heads: int = 4,
        hidden: int = 64,
        own_entity_only: bool = False,
        targets: tuple[str, ...] = (),
        own_path: bool = False,
        normalize: bool = False,
        pair_units: int = 0,
    ) -> None:
        super().__init__(ActionKinds(n_actions, targets), hidden)
        n_inputs = n_features + n_actions
        self.trunk = Trunk(n_inputs, width, heads, hidden, own_entity_only, own_path, normalize)
        seen_inputs = None if own_entity_only else n_inputs
        self._add_heads(partial(ActionHead, hidden, n_actions, targets, seen_inputs, width, pair_units))

    def _add_heads(self, head: Callable[[], ActionHead]) -> None:
        """Make the heads, each by a call of `head`."""
        self.utilities = head()

    @property
    def policy(self) -> nn.Module | None:
        """None: it acts by its utilities."""
        return None


class EntityAgent(UtilityAgent):
    """Utility Q_i and policy pi_i on one trunk; its arguments are those of `UtilityAgent`.

    Examples:
        >>> import torch
        >>> from models.packing import PackedSteps
        >>> agent = EntityAgent(n_features=3, n_actions=5, width=8, heads=2, hidden=4)
        >>> steps = PackedSteps.from_mask(torch.ones(2, 7, dtype=torch.bool))
        >>> seen, state = agent.trunk(torch.zeros(14, 6, 8), torch.ones(14, 1, 4, 6, dtype=torch.bool), steps)
        >>> agent.utilities(seen).shape, agent.policy_logits(seen).shape
        (torch.Size([14, 1, 4, 5]), torch.Size([14, 1, 4, 5]))
    """

    policy_logits: ActionHead

    def _add_heads(self, head: Callable[[], ActionHead]) -> None:
        super()._add_heads(head)
        self.policy_logits = head()

    @property
    def policy(self) -> nn.Module | None:
        """The head of pi_i."""
        return self.policy_logits
