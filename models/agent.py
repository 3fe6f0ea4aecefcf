"""Recurrent entity agents: a trunk with a utility head and, optionally, a policy head (architecture of REFIL)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from mipi_pl.models.targets import ActionHead, ActionKinds
from mipi_pl.models.trunk import Trunk


class Agent(nn.Module):
    """Interface of an agent for algorithms and actors. All agents of a team share its parameters.

    Args:
        kinds: action kinds.
        hidden: size of the recurrent state of one agent.

    Attributes:
        trunk: network with the call signature of `mipi_pl.models.trunk.Trunk`, and its method `attention_weights` if
            `mipi watch` is to show attention. Its features and its recurrent state have size `hidden`.
        utilities: head that maps the output of the trunk to the utilities Q_i [..., U].
        policy_logits: head that maps it to the logits [..., U] of the policy pi_i; None, unless a subclass sets it, for
            an agent that takes the action of highest utility.
    """

    trunk: nn.Module
    utilities: nn.Module
    policy_logits: nn.Module | None

    def __init__(self, kinds: ActionKinds, hidden: int) -> None:
        super().__init__()
        self.kinds = kinds
        self.hidden = hidden
        self.policy_logits = None

    def __init_subclass__(cls) -> None:
        """Refuse an agent for version 0.1, whose policy would be ignored.

        Raises:
            TypeError: if the class has an attribute `policy`.
        """
        super().__init_subclass__()
        if "policy" in vars(cls):
            raise TypeError(f"{cls.__name__}.policy is not used: set self.policy_logits to the policy head in __init__")


class UtilityAgent(Agent):
    """Agent of the value-based algorithms: a trunk and a head of utilities Q_i.

    Args:
        n_features: F, features of an entity.
        n_kinds: K, number of action kinds.
        width: size of the entity embeddings and the attention (128 in the paper).
        heads: number of attention heads (4 in the paper).
        hidden: size of the recurrent state (64 in the paper).
        own_entity_only: restrict each agent to its own entity: the ablation alpha = infinity of appendix D.2.
        targets: entity groups that the last action kinds target; see `mipi_pl.models.targets`.
        own_path: see `mipi_pl.models.trunk.Trunk`.
        normalize: see `mipi_pl.models.trunk.Trunk`.
        pair_units: units of the pair scores of target actions, 0 for none; see `mipi_pl.models.targets.PairScores`.

    Examples:
        >>> import torch
        >>> from mipi_pl.models.packing import PackedSteps
        >>> agent = UtilityAgent(n_features=3, n_kinds=5, width=8, heads=2, hidden=4)
        >>> steps = PackedSteps.from_mask(torch.ones(2, 7, dtype=torch.bool))
        >>> seen, state = agent.trunk(torch.zeros(14, 6, 8), torch.ones(14, 1, 4, 6, dtype=torch.bool), steps)
        >>> agent.utilities(seen).shape
        torch.Size([14, 1, 4, 5])
    """

    def __init__(
        self,
        n_features: int,
        n_kinds: int,
        width: int = 128,
        heads: int = 4,
        hidden: int = 64,
        own_entity_only: bool = False,
        targets: tuple[str, ...] = (),
        own_path: bool = False,
        normalize: bool = False,
        pair_units: int = 0,
    ) -> None:
        super().__init__(ActionKinds(n_kinds, targets), hidden)
        n_inputs = n_features + n_kinds
        self.trunk = Trunk(n_inputs, width, heads, hidden, own_entity_only, own_path, normalize)
        seen_inputs = None if own_entity_only else n_inputs
        self._add_heads(partial(ActionHead, hidden, n_kinds, targets, seen_inputs, width, pair_units))

    def _add_heads(self, head: Callable[[], ActionHead]) -> None:
        """Create the heads, each by one call of the factory `head`."""
        self.utilities = head()


class EntityAgent(UtilityAgent):
    """Agent with a utility head Q_i and a policy head pi_i on one trunk. Takes the arguments of `UtilityAgent`.

    Examples:
        >>> import torch
        >>> from mipi_pl.models.packing import PackedSteps
        >>> agent = EntityAgent(n_features=3, n_kinds=5, width=8, heads=2, hidden=4)
        >>> steps = PackedSteps.from_mask(torch.ones(2, 7, dtype=torch.bool))
        >>> seen, state = agent.trunk(torch.zeros(14, 6, 8), torch.ones(14, 1, 4, 6, dtype=torch.bool), steps)
        >>> agent.utilities(seen).shape, agent.policy_logits(seen).shape
        (torch.Size([14, 1, 4, 5]), torch.Size([14, 1, 4, 5]))
    """

    policy_logits: ActionHead

    def _add_heads(self, head: Callable[[], ActionHead]) -> None:
        super()._add_heads(head)
        self.policy_logits = head()
