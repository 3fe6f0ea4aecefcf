"""Sizes of an entity environment and the keys of its TensorDict, shared by all modules.

Axes, as named in the docstrings of environments, batches, algorithms and networks; other letters are explained where
they are used:

| axis | size |
|---|---|
| B | environments stepped at once |
| N | episodes, or parts of episodes, in a training batch |
| T | steps of an episode (T+1 observations) |
| S | steps of a padded batch |
| L | observed steps of all episodes of a batch, one after the other without padding |
| P | played steps among them, which exclude the last observation of each episode |
| A | agent slots |
| E | entity slots; the first A of them are the agents |
| F | features of an entity |
| I | inputs of the networks per entity: its features and its last action, one-hot |
| U | actions of an agent |
| K | kinds of action; K = U if no action targets an entity |
| V | views: masks over the same entities |
| G | imaginary partitions |

Masks are named by their meaning; True always means yes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import pad

ENTITIES = "entities"
"""float32 [B, E, F]: features of the entities; zeros in empty slots."""
PRESENT = "present"
"""bool [B, E]: an entity occupies the slot in this episode, alive or dead."""
VISIBLE = ("agents", "visible")
"""bool [B, A, E]: the agent sees the entity. An acting agent sees itself; a dead or absent agent sees nothing."""
ACTION_MASK = ("agents", "action_mask")
"""bool [B, A, U]: the action is available. Every slot has at least one; for agents that do not act it is action 0."""
ACTION = ("agents", "action")
"""int64 [B, A]: index of the agent's action."""
REWARD = "reward"
"""float32 [B, 1]: reward of the step, shared by the team."""
DONE, TERMINATED, TRUNCATED = "done", "terminated", "truncated"
"""bool [B, 1]: the episode has ended; done is terminated or truncated."""
IS_INIT = "is_init"
"""bool [B, 1]: first observation of an episode, where recurrent networks reset their state."""
COMPOSITION = "composition"
"""int64 [B, 1]: index into ``env.compositions``."""
WON = "won"
"""bool [B, 1]: the episode ended in success with this step."""
VALID = "valid"
"""bool [N, T+1] of a training batch: the step was played; False for the last observation of an episode and padding."""
ENVIRONMENT = "environment"
"""int64 [N] of a rollout: the environment that played the sequence."""
FIRST_STEP = "first_step"
"""int64 [N] of a rollout: index, in its episode, of the sequence's first step. Batches of whole episodes lack it."""
PREVIOUS_ACTION = ("agents", "previous_action")
"""int64 [N, A] of a rollout: actions before the first step of the sequence; U if the episode begins there."""
GROUPS = "imaginary_groups"
"""bool [N, G, E] of a training batch: the entity is in group A, for each of G imaginary partitions."""


def acting(visible: Tensor) -> Tensor:
    """Return bool [..., A], the agents that act: those that see themselves in `visible` [..., A, E]."""
    return visible[..., : visible.shape[-2]].diagonal(dim1=-2, dim2=-1)


def last_sequences(environment: Tensor) -> Tensor:
    """Return bool [N], the last sequence of each environment in a rollout ordered by environment and time."""
    return pad(environment[1:] != environment[:-1], (0, 1), value=True)


@dataclass(frozen=True)
class EntitySpec:
    """Sizes of an entity environment: all that networks, replay and losses need to know about it.

    Attributes:
        n_agents: A, number of agent slots (the capacity; a team may occupy fewer).
        n_entities: E, number of entity slots; slots 0 to A-1 are the agents.
        n_features: F, features per entity.
        n_actions: U, actions per agent, available or not.
        max_steps: T, time limit in steps; an episode that is truncated earlier was cut short by a fault.
        feature_names: one name per feature, or empty.
        action_names: one name per action, or empty.
        targets: groups of entities that the last actions aim at, ``agents`` or ``others``: for each group one action
            per slot, in slot order. A policy trained with target actions can act in an environment of any capacity.

    Raises:
        ValueError: if a size is not positive, the agents do not fit into the entity slots, a tuple of names has the
            wrong length, or `targets` does not fit the number of actions.

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
                f"EntitySpec.n_agents ({self.n_agents}) must not exceed EntitySpec.n_entities ({self.n_entities}), "
                "because the agents are the first entities"
            )
        for name, size in (("feature_names", self.n_features), ("action_names", self.n_actions)):
            if getattr(self, name) and len(getattr(self, name)) != size:
                raise ValueError(
                    f"EntitySpec.{name} must be empty or have {size} names, got {len(getattr(self, name))}"
                )
        if not set(self.targets) <= {"agents", "others"} or self.n_kinds <= len(self.targets):
            raise ValueError(
                "EntitySpec.targets must be of 'agents' and 'others', and the actions must be at least one without a "
                "target followed by one for each slot of these groups; "
                f"got {self.targets} with n_actions={self.n_actions}"
            )

    @property
    def n_kinds(self) -> int:
        """K, number of kinds of action: all actions that aim at the same group count as one kind."""
        sizes = {"agents": self.n_agents, "others": self.n_others}
        return self.n_actions - sum(sizes.get(group, 0) - 1 for group in self.targets)

    @property
    def step_bytes(self) -> int:
        """Memory of one step of one environment, in bytes: observation, action, reward and flags."""
        a, e = self.n_agents, self.n_entities
        return 4 * e * self.n_features + e + a * e + a * self.n_actions + 8 * a + 16

    @property
    def n_others(self) -> int:
        """Number of entity slots that are not agents."""
        return self.n_entities - self.n_agents

    def cut_short(self, truncated: Tensor, steps: Tensor) -> Tensor:
        """Return which episodes a fault has ended: those truncated before the time limit.

        Args:
            truncated: bool, of any shape.
            steps: int64 of the same shape, steps of each episode.
        """
        return truncated & (steps < self.max_steps)

    def check_length(self, steps: int) -> None:
        """Check the length of an episode.

        Raises:
            ValueError: if it has more than `max_steps` steps.
        """
        if steps > self.max_steps:
            raise ValueError(
                f"an episode is longer than max_steps={self.max_steps}; correct max_steps in the environment's "
                "spec, or let the environment truncate at that step"
            )

    def refuse_misfit(self, other: EntitySpec) -> None:
        """Check that a policy trained in this environment can act in another.

        Raises:
            ValueError: if it cannot; the message names the size that differs, or the first feature or action that has
                another name there.
        """
        bound = ("targets", "n_features", "n_kinds")
        for name in bound if other.targets else (*bound, "n_agents", "n_entities"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(f"the policy was trained with {name}={mine} and this environment has {theirs}")
        self.refuse_other_names(other)

    def refuse_other_names(self, other: EntitySpec) -> None:
        """Check that features and actions mean the same in another environment, as far as both name them.

        Raises:
            ValueError: if they do not; the message names the first feature or action that differs.
        """
        fixed = self.n_kinds - len(self.targets)  # the names of the others depend on the number of targets
        _refuse_other_names("feature", self.feature_names, other.feature_names)
        _refuse_other_names("action", self.action_names[:fixed], other.action_names[:fixed])


def _refuse_other_names(what: str, mine: Sequence[str], theirs: Sequence[str]) -> None:
    """Check that two lists of names agree, where both are given.

    Raises:
        ValueError: if they do not.
    """
    for number, (trained, here) in enumerate(zip(mine, theirs, strict=False)):
        if trained != here:
            raise ValueError(
                f"{what} {number} was {trained!r} where the policy was trained and is {here!r} in this environment: "
                "give unit types and other lists in the order of training"
            )
