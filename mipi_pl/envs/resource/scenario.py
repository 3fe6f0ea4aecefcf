"""A scenario of Resource Collection: validated constants, converted to arrays for the kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mipi_pl.envs.composition import Composition
from mipi_pl.envs.resource.rules_observe import Columns
from mipi_pl.envs.resource.rules_state import RULES, Land
from mipi_pl.utils.checks import require
from mipi_pl.utils.memory import require_memory

_POSITIVE = (
    "dt", "contact_margin", "mass", "acceleration", "wall", "agent_size", "home_size", "resource_size", "invader_size",
    "sight_range", "invader_rim", "invader_step", "reward_scale", "position_unit",
)  # fmt: skip
_NOT_NEGATIVE = (
    "contact_force", "touch_margin", "start_radius", "resource_spacing", "collect_reward", "deliver_reward",
    "catch_reward", "arrival_penalty",
)  # fmt: skip
_COUNTS = ("capacity", "episode_limit", "resource_types", "resources_per_type", "invader_delay")


@dataclass(frozen=True)
class Scenario:
    """Constants of a scenario, documented in `mipi_pl.envs.resource.env.ResourceCollection`.

    Raises:
        ValueError: for invalid values; the message states the allowed ones.
    """

    team_sizes: tuple[int, ...]
    capacity: int
    episode_limit: int
    resource_types: int
    resources_per_type: int
    skill_levels: tuple[float, ...]
    speed_levels: tuple[float, ...]
    acceleration: float
    sight_range: float
    wall: float
    agent_size: float
    home_size: float
    resource_size: float
    invader_size: float
    start_radius: float
    resource_radius: tuple[float, float]
    resource_spacing: float
    invader_rim: float
    invader_step: float
    invader_delay: int
    touch_margin: float
    collect_reward: float
    deliver_reward: float
    catch_reward: float
    arrival_penalty: float
    reward_scale: float
    position_unit: float
    dt: float
    damping: float
    contact_force: float
    contact_margin: float
    mass: float

    def __post_init__(self) -> None:
        for name in _COUNTS:
            require(f"env.{name}", getattr(self, name), 1)
        for name in _POSITIVE:
            require(f"env.{name}", getattr(self, name), 0, above=True)
        for name in _NOT_NEGATIVE:
            require(f"env.{name}", getattr(self, name), 0)
        require("env.damping", self.damping, 0, 1)
        width = 9 + 3 * self.resource_types  # features per entity
        require_memory(
            f"a world of {self.n_entities:,} entities with {width:,} features each",
            self.n_entities * (4 * width + self.capacity + 1000),
            "lower env.capacity, env.resource_types or env.resources_per_type",
        )
        self._check_team()
        self._check_places()

    def _check_team(self) -> None:
        if not self.team_sizes or len(set(self.team_sizes)) < len(self.team_sizes):
            raise ValueError(f"env.team_sizes must list at least one size and none twice, got {list(self.team_sizes)}")
        for size in self.team_sizes:
            require("env.team_sizes", size, 1)
        if max(self.team_sizes) > self.capacity:
            raise ValueError(
                f"env.team_sizes must not exceed capacity, got {max(self.team_sizes)} with capacity {self.capacity}; "
                "raise capacity (only before training, because it fixes the shapes of the networks)"
            )
        for name in ("skill_levels", "speed_levels"):
            if not getattr(self, name):
                raise ValueError(f"env.{name} must list at least one level, got none")
            for level in getattr(self, name):
                require(f"env.{name}", level, 0, above=name == "speed_levels")

    def _check_places(self) -> None:
        if len(self.resource_radius) != 2:
            raise ValueError(
                f"env.resource_radius must be [nearest, farthest] distance from home, got {list(self.resource_radius)}"
            )
        near, far = self.resource_radius
        require("env.resource_radius (nearest)", near, 0)
        require("env.resource_radius (farthest)", far, near)
        reach = self.wall + self.resource_size + self.touch_margin
        if far > reach:
            raise ValueError(
                f"env.resource_radius (farthest) must be at most {reach:g}, within reach of agents, got {far:g}"
            )
        # At least half of the ring must stay free, so that few draws find a free position.
        if (self.n_resources - 1) * self.resource_spacing**2 > (far**2 - near**2) / 2:
            raise ValueError(
                f"env.resource_spacing {self.resource_spacing:g} leaves too little room for {self.n_resources} "
                f"resources between {near:g} and {far:g}; lower it or widen resource_radius"
            )
        if self.start_radius + self.agent_size > self.wall:
            raise ValueError(
                f"env.start_radius must be at most {self.wall - self.agent_size:g} so that agents start within the "
                f"walls, got {self.start_radius:g}"
            )

    @property
    def n_resources(self) -> int:
        """R, number of resources."""
        return self.resource_types * self.resources_per_type

    @property
    def n_entities(self) -> int:
        """E, number of entity slots: agents, home, resources, invader."""
        return self.capacity + 1 + self.n_resources + 1

    @cached_property
    def compositions(self) -> tuple[Composition, ...]:
        """One composition per team size. Skills and speeds are not part of it; every episode draws them."""
        return tuple(Composition((("agent", size),)) for size in sorted(self.team_sizes))

    @cached_property
    def blocks(self) -> dict[str, tuple[str, ...]]:
        """Feature blocks in order, each with the names of its columns."""
        types = range(self.resource_types)
        return {
            "kind": ("is_agent", "is_home", *(f"is_resource_{k}" for k in types), "is_invader"),
            "position": ("x", "y"),
            "velocity": ("velocity_x", "velocity_y"),
            "carries": tuple(f"carries_{k}" for k in types),
            "skill": tuple(f"skill_{k}" for k in types),
            "speed": ("max_speed",),
        }

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the F features."""
        return tuple(name for columns in self.blocks.values() for name in columns)

    def columns(self) -> Columns:
        """First column of each feature block, for the kernels."""
        names = self.feature_names
        return Columns(**{block: names.index(columns[0]) for block, columns in self.blocks.items()})

    def land(self) -> Land:
        """Convert the scenario to arrays for the kernels."""
        rules = np.zeros(1, dtype=RULES)
        shared_names = set(rules.dtype.names) & set(vars(self))
        for name in shared_names:
            rules[name] = getattr(self, name)
        rules["sight"], rules["n_agents"] = self.sight_range, self.capacity
        rules["resource_near"], rules["resource_far"] = self.resource_radius
        rules["n_resources"], rules["n_types"] = self.n_resources, self.resource_types
        sizes = [composition.size for composition in self.compositions]
        circle = np.zeros((len(sizes), self.capacity, 2))
        for c, size in enumerate(sizes):
            for i in range(size):
                angle = 2.0 * math.pi * i / size
                circle[c, i] = math.cos(angle), math.sin(angle)
        return Land(
            rules=rules,
            sizes=np.array(sizes, dtype=np.int64),
            drawn=np.arange(len(sizes)),
            circle=circle,
            skill_levels=np.array(self.skill_levels, dtype=np.float64),
            speed_levels=np.array(self.speed_levels, dtype=np.float64),
        )
