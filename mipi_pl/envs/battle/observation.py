"""Layout of a battle's observation: names and positions of all features and actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mipi_pl.envs.battle.rules_state import FIRST_MOVE, FIRST_TARGET, Columns


@dataclass(frozen=True)
class BattleLayout:
    """Names and positions of features and actions, shared by the simulator and StarCraft II.

    Attributes:
        n_agents: A, number of agent slots and tags.
        n_enemies: M, number of enemy slots and tags.
        types: names of the unit types of the family.
        healers: whether there are healers, and therefore heal actions.
        centre_of_mass: whether features include positions relative to the centre of mass of all living units.
        tags: whether target actions refer to tags, which are then features too. Otherwise they refer to slots, and the
            features do not depend on the number of slots.
    """

    n_agents: int
    n_enemies: int
    types: tuple[str, ...]
    healers: bool
    centre_of_mass: bool = True
    tags: bool = True

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        """Names of the U actions."""
        moves = ("no_op", "stop", "north", "south", "east", "west")
        heals = tuple(f"heal_{k}" for k in range(self.n_agents)) if self.healers else ()
        return moves + tuple(f"attack_{k}" for k in range(self.n_enemies)) + heals

    @property
    def n_actions(self) -> int:
        """U, number of actions."""
        return len(self.action_names)

    @property
    def targets(self) -> tuple[str, ...]:
        """Groups of entities that the last actions target slot by slot, as in `EntitySpec`; empty with tags."""
        return () if self.tags else ("others", "agents") if self.healers else ("others",)

    @cached_property
    def blocks(self) -> dict[str, tuple[str, ...]]:
        """Feature blocks in order, each with the names of its columns."""
        available = self.action_names[FIRST_MOVE:]
        if not self.tags:
            moves = available[: FIRST_TARGET - FIRST_MOVE]
            available = (*moves, "any_attack", *(["any_heal"] if self.healers else []))
        blocks: dict[str, Sequence[str]] = {
            "tag": [f"tag_{k}" for k in range(max(self.n_agents, self.n_enemies))] if self.tags else [],
            "available": [f"available_{name}" for name in available],
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
        """Names of the F features."""
        return tuple(name for columns in self.blocks.values() for name in columns)

    @property
    def n_features(self) -> int:
        """F, number of features."""
        return len(self.feature_names)

    def columns(self, block: str) -> slice:
        """Return the columns of a feature block.

        Raises:
            KeyError: if the layout has no such block.
        """
        start = 0
        for name, names in self.blocks.items():
            if name == block:
                return slice(start, start + len(names))
            start += len(names)
        raise KeyError(f"no feature block {block!r}; expected one of {list(self.blocks)}")

    def first_columns(self) -> Columns:
        """Return the first column of each feature block, -1 for missing blocks, for the kernels."""
        return Columns(**{n: self.columns(n).start if n in self.blocks else -1 for n in Columns._fields})

    def attack(self, tag: int) -> int:
        """Return the action that attacks the enemy with this tag; without tags, its index among the enemy slots."""
        return FIRST_TARGET + tag

    def heal(self, tag: int) -> int:
        """Return the action that heals the agent with this tag; without tags, its slot."""
        return FIRST_TARGET + self.n_enemies + tag
