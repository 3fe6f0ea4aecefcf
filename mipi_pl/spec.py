"""What every part agrees on: the sizes of an entity world and the keys of its TensorDict.

Axis legend, used in every docstring of the project:

====  =====================================================================
B     environments stepped at once
N     episodes in a training batch
T     steps of an episode (T+1 observations)
A     agent slots
E     entity slots; the first A of them are the agents
F     features of an entity
U     actions of an agent
====  =====================================================================

Masks are named by meaning and True is always yes.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import pad

ENTITIES = "entities"
"""float32 [B, E, F]; zeros where the slot is empty."""
PRESENT = "present"
"""bool [B, E]: an entity fills the slot in this episode, alive or dead."""
VISIBLE = ("agents", "visible")
"""bool [B, A, E]: the agent sees the entity. An agent that acts sees itself; a dead or absent one sees nothing."""
ACTION_MASK = ("agents", "action_mask")
"""bool [B, A, U]: the action is available. At least one is, for every slot; action 0 for those that do not act."""
ACTION = ("agents", "action")
"""int64 [B, A]."""
REWARD = "reward"
"""float32 [B, 1], shared by the team."""
DONE, TERMINATED, TRUNCATED = "done", "terminated", "truncated"
"""bool [B, 1]; done is terminated or truncated."""
IS_INIT = "is_init"
"""bool [B, 1]: first observation of an episode; recurrent networks start afresh here."""
COMPOSITION = "composition"
"""int64 [B, 1]: index into ``env.compositions``."""
WON = "won"
"""bool [B, 1]: the episode ended in success with this step."""
VALID = "valid"
"""bool [N, T+1] of a training batch: the step was played (the last observation of an episode was not)."""
ENVIRONMENT = "environment"
"""int64 [N] of a rollout: the environment that played the sequence."""
FIRST_STEP = "first_step"
"""int64 [N] of a rollout: the step of its episode with which the sequence begins; whole episodes have no such key."""
PREVIOUS_ACTION = ("agents", "previous_action")
"""int64 [N, A] of a rollout: what the agents did before the first step of the sequence; U where there was nothing."""
GROUPS = "imaginary_groups"
"""bool [N, K, E] of a training batch: group A of each of K imaginary partitions."""


def acting(visible: Tensor) -> Tensor:
    """Bool [..., A]: the agents that act, from what they see [..., A, E]: those that see themselves."""
    return visible[..., : visible.shape[-2]].diagonal(dim1=-2, dim2=-1)


def last_sequences(environment: Tensor) -> Tensor:
    """Bool [N]: the last sequence of each environment in a rollout, whose sequences stand by environment and time."""
    return pad(environment[1:] != environment[:-1], (0, 1), value=True)


@dataclass(frozen=True)
class EntitySpec:
    """The sizes of an entity world; all that networks, replay and losses need to know of it.

    Attributes:
        n_agents: A, agent slots (the capacity; a team may fill fewer).
        n_entities: E, entity slots in all. Slots 0..A-1 are the agents.
        n_features: F, features of each entity.
        n_actions: U, actions of each agent, available or not.
        max_steps: T, the time limit, in steps; an episode that is truncated earlier was cut short by a fault.
        feature_names: one name per feature, or empty.
        action_names: one name per action, or empty.
        targets: groups of entities that the last actions aim at, ``agents`` or ``others``: for each group one action
            per slot, in the order of the slots. Policies of such a world act in one of any capacity.

    Raises:
        ValueError: if a size is not positive, the agents do not fit into the entity slots,
            or a tuple of names has the wrong length.

    Examples:
        >>> EntitySpec(n_agents=2, n_entities=3, n_features=4, n_actions=5, max_steps=10).n_others
        1
    """

    n_agents: int
    n_entities: int
    n_features: int
    n_actions: int
    max_steps: int
    feature_names: tuple[str, ...] = ()
    action_names: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("n_agents", "n_entities", "n_features", "n_actions", "max_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"EntitySpec.{name} must be at least 1, got {getattr(self, name)}")
        if self.n_agents > self.n_entities:
            raise ValueError(
                f"the agents are the first entities: n_agents ({self.n_agents}) must not exceed "
                f"n_entities ({self.n_entities})"
            )
        for name, size in (("feature_names", self.n_features), ("action_names", self.n_actions)):
            if getattr(self, name) and len(getattr(self, name)) != size:
                raise ValueError(f"EntitySpec.{name} has {len(getattr(self, name))} names for {size} places")
        if not set(self.targets) <= {"agents", "others"} or self.n_kinds <= len(self.targets):
            raise ValueError(
                "EntitySpec.targets must be of 'agents' and 'others', with an action for each of their slots after at "
                f"least one that aims at nothing, got {self.targets} with n_actions={self.n_actions}"
            )

    @property
    def n_kinds(self) -> int:
        """K, kinds of action: as many as actions, but all that aim at entities of one group count as one."""
        sizes = {"agents": self.n_agents, "others": self.n_others}
        return self.n_actions - sum(sizes.get(group, 0) - 1 for group in self.targets)

    @property
    def n_others(self) -> int:
        """Entity slots that are not agents."""
        return self.n_entities - self.n_agents

    def cut_short(self, truncated: Tensor, steps: Tensor) -> Tensor:
        """Which episodes a fault has ended: those truncated after fewer steps than the time limit, of any one shape."""
        return truncated & (steps < self.max_steps)

    def refuse_misfit(self, other: EntitySpec) -> None:
        """See whether a policy that was trained in this world can act in another.

        Raises:
            ValueError: if not, naming the size that differs.
        """
        bound = ("targets", "n_features", "n_kinds")
        for name in bound if other.targets else (*bound, "n_agents", "n_entities"):
            mine, its = getattr(self, name), getattr(other, name)
            if mine != its:
                raise ValueError(f"the policy was trained with {name}={mine} and this environment has {its}")
