"""The layout of an entity's features and of the actions: the one place that names them and says where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mipi_pl.envs.battle.rules_state import FIRST_MOVE, FIRST_TARGET, Columns


@dataclass(frozen=True)
class BattleLayout:
    """Where everything is in a battle's observation, for the simulator and for the real game alike.

    Attributes:
        n_agents: A, agent slots and tags.
        n_enemies: M, enemy slots and tags.
        types: names of the unit types of the family.
        healers: whether actions per agent tag exist.
        centre_of_mass: whether positions relative to the centre of mass of all living units are shown.
        tags: whether target actions name tags, which the features show; else they name slots, and no feature depends on
            how many slots there are.
    """

    n_agents: int
    n_enemies: int
    types: tuple[str, ...]
    healers: bool
    centre_of_mass: bool = True
    tags: bool = True

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        """One name per action, U in all."""
        moves = ("no_op", "stop", "north", "south", "east", "west")
        heals = tuple(f"heal_{k}" for k in range(self.n_agents)) if self.healers else ()
        return moves + tuple(f"attack_{k}" for k in range(self.n_enemies)) + heals

    @property
    def n_actions(self) -> int:
        """U."""
        return len(self.action_names)

    @property
    def targets(self) -> tuple[str, ...]:
        """Groups of entities that the last actions aim at slot by slot (`mipi_pl.spec.EntitySpec`); none with tags."""
        return () if self.tags else ("others", "agents") if self.healers else ("others",)

    @cached_property
    def blocks(self) -> dict[str, tuple[str, ...]]:
        """Blocks of features in order, each with the names of its columns."""
        shown = self.action_names[FIRST_MOVE:]
        if not self.tags:
            shown = (*shown[: FIRST_TARGET - FIRST_MOVE], "any_attack", *(["any_heal"] if self.healers else []))
        blocks: dict[str, Sequence[str]] = {
            "tag": [f"tag_{k}" for k in range(max(self.n_agents, self.n_enemies))] if self.tags else [],
            "available": [f"available_{name}" for name in shown],
            "kind": [f"type_{name}" for name in self.types],
            "health": ["health"],
            "shield": ["shield"],
            "energy": ["energy"],
            "cooldown": ["cooldown"],
            "position": ["x", "y"],
        }
        if self.centre_of_mass:
            blocks["from_centre"] = ["x_from_centre_of_mass", "y_from_centre_of_mass"]
        return {name: tuple(columns) for name, columns in blocks.items()}

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """One name per feature, F in all."""
        return tuple(name for columns in self.blocks.values() for name in columns)

    @property
    def n_features(self) -> int:
        """F."""
        return len(self.feature_names)

    def columns(self, block: str) -> slice:
        """The columns of a block of features."""
        before = 0
        for name, names in self.blocks.items():
            if name == block:
                return slice(before, before + len(names))
            before += len(names)
        raise KeyError(f"no block of features {block!r}; there are {list(self.blocks)}")

    def first_columns(self) -> Columns:
        """First column of each block, for the kernels."""
        return Columns(**{n: self.columns(n).start if n in self.blocks else -1 for n in Columns._fields})

    def attack(self, tag: int) -> int:
        """The action that attacks the enemy with this tag, which without tags is its place among the enemy slots."""
        return FIRST_TARGET + tag

    def heal(self, tag: int) -> int:
        """The action that heals the agent with this tag, which without tags is its slot."""
        return FIRST_TARGET + self.n_enemies + tag
