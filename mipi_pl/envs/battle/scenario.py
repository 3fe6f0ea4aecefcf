"""A battle scenario: armies and constants of the rules, validated and converted to arrays for the kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mipi_pl.envs.battle.observation import BattleLayout
from mipi_pl.envs.battle.rules_state import DRAW, RULES, World
from mipi_pl.envs.battle.units import UnitType, find_units, make_damage, make_kinds
from mipi_pl.envs.composition import Composition, TypeGroup, draw_limits, enumerate_compositions
from mipi_pl.envs.split import NOTHING_HELD_OUT, Mix, Split, played_mixes
from mipi_pl.utils.checks import require
from mipi_pl.utils.memory import require_memory

_MAX_LOOPS = 10_000
"""Game loops of a step, at most: seven minutes of the game. A kernel plays them without an interruption."""

_TOO_MANY_REFERENCES = (
    "rewards are scaled by the best return of all of them; lower env.reward_reference_size (by default env.capacity), "
    "or set env.reward_scale=composition"
)
"""Advice if there are too many compositions of `reward_reference_size` units."""

Army = tuple[str, ...]
"""Type name of each unit of an army."""


def type_groups(groups: Sequence[Mapping[str, Any] | TypeGroup]) -> tuple[TypeGroup, ...]:
    """Convert groups from a config, each ``{types: [...], min: .., max: ..}``.

    Raises:
        ValueError: if a group has another form.
    """
    for g in groups:
        if not isinstance(g, TypeGroup) and not (isinstance(g, Mapping) and set(g) == {"types", "min", "max"}):
            raise ValueError(f"each of groups must be {{types: [..], min: .., max: ..}}, got {g!r}")
    return tuple(g if isinstance(g, TypeGroup) else TypeGroup(**{str(k): v for k, v in g.items()}) for g in groups)


def fixed_army(units: Mapping[str, Any] | None) -> Army | None:
    """Convert a fixed army from a config, ``{type: number}`` or None.

    Raises:
        ValueError: if it has another form.
    """
    if units is None:
        return None
    if not isinstance(units, Mapping) or not units or any(type(n) is not int or n < 1 for n in units.values()):
        raise ValueError(f"enemies must be null or an army {{type: number}}, such as {{marine: 11}}, got {units!r}")
    refuse_army(sum(units.values()))
    return tuple(str(name) for name, n in units.items() for _ in range(n))


def refuse_army(n_units: int, num_envs: int = 1) -> None:
    """Check that battles of so many units fit into the memory of this machine, before they are made.

    Raises:
        ValueError: if they do not.
    """
    # Pairs of nearby units take 8 E^2 bytes (`make_pairs`); masks and features of each step, up to 8 E^2 more.
    require_memory(
        f"{num_envs:,} battle{'s' if num_envs > 1 else ''} of up to {n_units:,} units each",
        num_envs * (16 * n_units**2 + 1000 * n_units),
        "lower num_envs, env.capacity, env.enemies or env.enemy_delta",
    )


def enemy_army(composition: Composition, delta: int) -> Army:
    """Return the agents' army with `delta` units added or, if negative, removed.

    Units are added or removed one at a time, each of the type that is most numerous at that point (the first listed
    among equals).

    Raises:
        ValueError: if no unit would be left.
    """
    counts = dict(composition.counts)
    if composition.size + delta < 1:
        raise ValueError(f"enemy_delta {delta} leaves no enemy against {composition.label}; use larger team_sizes")
    for _ in range(abs(delta)):
        most_numerous = max(counts, key=lambda name: counts[name])
        counts[most_numerous] += 1 if delta > 0 else -1
    return tuple(name for name, n in counts.items() for _ in range(n))


@dataclass(frozen=True)
class Scenario:
    """Constants of a scenario, documented in `mipi_pl.envs.battle.env.BattleEnv`.

    Raises:
        ValueError: for invalid values; the message states the allowed ones.
    """

    groups: tuple[TypeGroup, ...]
    team_sizes: tuple[int, ...]
    capacity: int
    mixes: str | Sequence[Mix] = "training"
    split: Split = NOTHING_HELD_OUT
    enemies: Army | None = None
    enemy_delta: int = 0
    draw: str = "compositions"
    episode_limit: int = 150
    map_size: float = 32.0
    spawn_distance: float = 14.0
    jitter: float = 1.0
    sight_range: float = 9.0
    target_range: float = 6.0
    acquisition_range: float = 9.0
    loops_per_step: int = 8
    target_actions: str = "tags"
    random_tags: bool = True
    centre_of_mass_features: bool = True
    kill_reward: float = 10.0
    win_reward: float = 200.0
    best_return: float = 20.0
    reward_scale: str = "largest"
    reward_reference_size: int | None = None
    both_scripted: bool = False

    def __post_init__(self) -> None:
        for name in ("capacity", "episode_limit"):
            require(f"env.{name}", getattr(self, name), 1)
        require("env.loops_per_step", self.loops_per_step, 1, _MAX_LOOPS)
        for name in ("map_size", "sight_range", "target_range", "acquisition_range", "best_return"):
            require(f"env.{name}", getattr(self, name), 0, above=True)
        for name in ("jitter", "kill_reward", "win_reward", "spawn_distance"):
            require(f"env.{name}", getattr(self, name), 0)
        refuse_army(self.capacity + max(self.enemy_capacity, abs(self.enemy_delta)))
        if self.enemies is not None and self.enemy_delta:
            raise ValueError(
                f"enemy_delta must be 0 with a fixed army in enemies, got {self.enemy_delta}; leave one of them out"
            )
        if self.target_actions not in ("tags", "slots"):
            raise ValueError(f"target_actions must be 'tags' or 'slots', got {self.target_actions!r}")
        largest = max(self.team_sizes, default=0) if isinstance(self.mixes, str) else self.compositions[-1].size
        if largest > self.capacity:
            raise ValueError(
                f"team_sizes must not exceed capacity, the number of agent slots: got {largest} with "
                f"capacity {self.capacity}; remove the larger sizes or raise capacity (a trained policy keeps its "
                f"capacity unless it was trained with target_actions=slots)"
            )
        if self.spawn_distance + 2 * self.jitter > self.map_size:
            raise ValueError(
                f"spawn_distance plus twice the jitter must not exceed map_size {self.map_size}, got "
                f"spawn_distance {self.spawn_distance} and jitter {self.jitter}"
            )
        if self.reward_scale not in ("largest", "composition"):
            raise ValueError(f"reward_scale must be 'largest' or 'composition', got {self.reward_scale!r}")
        for composition in self.compositions:
            for army in (self._agents(composition), self.enemy_army(composition)):
                if not any(self._units[name].weapon for name in army):
                    raise ValueError(
                        f"an army needs a unit with a weapon, got {', '.join(army)}; change groups, enemies or "
                        "enemy_delta"
                    )

    @cached_property
    def types(self) -> tuple[UnitType, ...]:
        """Unit types of the family in the order of the groups, followed by types that only the enemies have."""
        names = [name for group in self.groups for name in group.types]
        return find_units(list(dict.fromkeys([*names, *(self.enemies or ())])))

    @property
    def _units(self) -> dict[str, UnitType]:
        return {u.name: u for u in self.types}

    @cached_property
    def compositions(self) -> tuple[Composition, ...]:
        """Compositions that episodes draw from."""
        return played_mixes(self.groups, self.team_sizes, self.split, self.mixes)

    @cached_property
    def withheld(self) -> tuple[Composition, ...]:
        """Compositions that the split holds out of training."""
        return tuple(sorted(self.split.divide(self.groups)[1], key=lambda c: (c.size, c.counts)))

    def enemy_army(self, composition: Composition) -> Army:
        """Return the enemy army for agents of this composition."""
        return enemy_army(composition, self.enemy_delta) if self.enemies is None else self.enemies

    @property
    def enemy_capacity(self) -> int:
        """M, number of enemy slots and tags."""
        return self.capacity + max(self.enemy_delta, 0) if self.enemies is None else len(self.enemies)

    @property
    def healers(self) -> bool:
        """Whether the family has healers, and therefore heal actions."""
        return any(u.healing for u in self.types)

    @cached_property
    def layout(self) -> BattleLayout:
        """Layout of features and actions."""
        names = tuple(u.name for u in self.types)
        tags = self.target_actions == "tags"
        return BattleLayout(self.capacity, self.enemy_capacity, names, self.healers, self.centre_of_mass_features, tags)

    def world(self) -> World:
        """Convert the scenario to arrays for the kernels."""
        rules = np.zeros(1, dtype=RULES)
        for name in ("map_size", "spawn_distance", "jitter", "kill_reward", "win_reward", "target_range"):
            rules[name] = getattr(self, name)
        for name in ("loops_per_step", "episode_limit", "both_scripted"):
            rules[name] = getattr(self, name)
        rules["tags"], rules["random_tags"] = self.layout.tags, self.layout.tags and self.random_tags
        rules["sight"], rules["acquisition"] = self.sight_range, self.acquisition_range
        rules["n_agents"], rules["n_enemies"] = self.capacity, self.enemy_capacity
        rules["n_actions"], rules["centre_features"] = self.layout.n_actions, self.centre_of_mass_features
        draws = np.zeros(len(self.compositions), dtype=DRAW)
        draws["cumulative"] = draw_limits(self.compositions, self.draw)
        draws["reward_scale"] = [self.best_return / self._best_of(c) for c in self.compositions]
        slots = [
            self._slots(self._agents(c), self.capacity) + self._slots(self.enemy_army(c), self.enemy_capacity)
            for c in self.compositions
        ]
        return World(
            rules=rules,
            kinds=make_kinds(self.types),
            damage=make_damage(self.types),
            draws=draws,
            slots=np.array(slots, dtype=np.int64),
            formation=_formation(max(self.capacity, self.enemy_capacity)),
        )

    def best_unscaled_return(self, composition: Composition) -> float:
        """Return the highest unscaled return: all enemy health and shields, all kills and the victory."""
        army = [self._units[name] for name in self.enemy_army(composition)]
        return sum(u.health + u.shield + self.kill_reward for u in army) + self.win_reward

    def _best_of(self, composition: Composition) -> float:
        """Return the unscaled return that is scaled to `best_return`.

        It is the best return of this composition or the best of all compositions of `reward_reference_size` units. The
        latter does not depend on team_sizes, so training and evaluation on other sizes use the same scale.
        """
        if self.reward_scale == "composition":
            return self.best_unscaled_return(composition)
        return self._best_of_largest

    @cached_property
    def _best_of_largest(self) -> float:
        limit = self.capacity if self.reward_reference_size is None else self.reward_reference_size
        low, high = sum(g.min for g in self.groups), sum(g.max for g in self.groups)
        smallest = max(low, 1, 1 - self.enemy_delta)
        if not smallest <= min(limit, high):
            raise ValueError(
                f"reward_reference_size (by default the capacity) must be at least {smallest} in this scenario, got "
                f"{limit}"
            )
        candidates = enumerate_compositions(self.groups, [min(limit, high)], _TOO_MANY_REFERENCES)
        return max(self.best_unscaled_return(c) for c in candidates)

    def _agents(self, composition: Composition) -> Army:
        return tuple(name for name, n in composition.counts for _ in range(n))

    def _slots(self, army: Army, capacity: int) -> list[int]:
        names = [u.name for u in self.types]
        return sorted(names.index(name) for name in army) + [-1] * (capacity - len(army))


def _formation(n: int) -> np.ndarray:
    """Return the n points of a hexagonal lattice nearest to its centre, for units of radius 1: float64 [n, 2]."""
    # The nearest n points lie within a distance of 0.53 sqrt(n) + 1 steps of the lattice.
    steps = min(n, math.isqrt(n) + 2)
    reach = range(-steps, steps + 1)
    lattice = [(2 * q + r, r) for q in reach for r in reach]  # x in units of 1, y in units of sqrt(3)
    nearest = sorted(lattice, key=lambda p: (p[0] ** 2 + 3 * p[1] ** 2, p))[:n]
    return np.array([(1.02 * x, 1.02 * y * np.sqrt(3.0)) for x, y in nearest], dtype=np.float64).reshape(n, 2)
