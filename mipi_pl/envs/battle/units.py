"""The unit table: units.yaml read into checked dataclasses, and from there into arrays for the kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar, cast

import numpy as np
from omegaconf import OmegaConf

from mipi_pl.envs.battle.rules_state import KIND
from mipi_pl.envs.kernels.records import Records

LOOPS_PER_S = 22.4
"""Game loops per second at the speed 'faster'."""
FASTEST_PER_S = 5.5
"""Map units per second: movement looks for neighbours within half a map unit, which must hold two steps of a loop."""

_Part = TypeVar("_Part")


@dataclass(frozen=True)
class Weapon:
    """An attack every `cooldown_s`: `hits` times `damage` (plus `bonus` against an attribute).

    `range` counts from edge to edge. `splash_length` and `splash_width` span a rectangle across the line of fire,
    centred on the target, in which every ground enemy is hit; 0 is no splash. A `blast_radius` makes it a charge: when
    its bearer attacks or dies, every ground enemy within that distance is hit, and the bearer is gone.
    """

    damage: float
    cooldown_s: float
    range: float
    hits: int = 1
    bonus: float = 0.0
    bonus_against: str = ""
    hits_ground: bool = True
    hits_air: bool = False
    splash_length: float = 0.0
    splash_width: float = 0.0
    blast_radius: float = 0.0


@dataclass(frozen=True)
class Healing:
    """The gift of a healer: `health_per_s` to one living ground ally, paid with energy."""

    range: float
    health_per_s: float
    health_per_energy: float
    energy: float
    energy_max: float
    energy_per_s: float


@dataclass(frozen=True)
class UnitType:
    """One entry of units.yaml.

    `health_per_s` is what it regains by itself. `tall` units stand on the ground and are in reach of anti-air weapons
    too.

    Raises:
        ValueError: if it is too fast for the rules of movement.
    """

    name: str
    health: float
    speed_per_s: float
    radius: float
    shield: float = 0.0
    armour: float = 0.0
    health_per_s: float = 0.0
    attributes: tuple[str, ...] = ()
    flies: bool = False
    tall: bool = False
    weapon: Weapon | None = None
    healing: Healing | None = None

    def __post_init__(self) -> None:
        if self.speed_per_s > FASTEST_PER_S:
            raise ValueError(f"{self.name}: speed_per_s must be at most {FASTEST_PER_S}, got {self.speed_per_s}")

    def can_target(self, other: UnitType) -> bool:
        """Whether the weapon reaches the plane the other is in."""
        if self.weapon is None:
            return False
        return (self.weapon.hits_ground and not other.flies) or (self.weapon.hits_air and (other.flies or other.tall))

    def damage_per_hit(self, other: UnitType) -> float:
        """Before armour; 0 when the other is out of the weapon's plane."""
        if self.weapon is None or not self.can_target(other):
            return 0.0
        return self.weapon.damage + (self.weapon.bonus if self.weapon.bonus_against in other.attributes else 0.0)


def _part(cls: type[_Part], values: Mapping[str, Any], owner: str) -> _Part:
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    if unknown := set(values) - known:
        raise ValueError(f"{owner} in units.yaml has unknown keys {sorted(unknown)}; known are {sorted(known)}")
    return cls(**values)


@cache
def load_units() -> dict[str, UnitType]:
    """All unit types by name."""
    text = (files("mipi_pl.envs.battle") / "units.yaml").read_text(encoding="utf-8")
    table = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(text)))
    units = {}
    for name, entry in table.items():
        values = {**entry, "name": name, "attributes": tuple(entry.get("attributes", ()))}
        for key, cls in (("weapon", Weapon), ("healing", Healing)):
            if key in values:
                values[key] = _part(cls, values[key], f"{key} of {name}")
        units[name] = _part(UnitType, values, name)
    return units


def find_units(names: Sequence[str]) -> tuple[UnitType, ...]:
    """The named types, in that order.

    Raises:
        ValueError: for a name that units.yaml does not have.
    """
    units = load_units()
    if unknown := [name for name in names if name not in units]:
        raise ValueError(f"unknown unit types {unknown}; units.yaml has {sorted(units)}")
    return tuple(units[name] for name in names)


def make_kinds(types: Sequence[UnitType]) -> Records:
    """The unit table of a family for the kernels, KIND [K]: lengths in map units, times in game loops."""
    kinds = np.zeros(len(types), dtype=KIND)
    for row, unit in zip(kinds, types, strict=True):
        row.health, row.shield, row.armour, row.radius = unit.health, unit.shield, unit.armour, unit.radius
        row.speed, row.health_regen = unit.speed_per_s / LOOPS_PER_S, unit.health_per_s / LOOPS_PER_S
        row.flies, row.fights, row.heals = unit.flies, unit.weapon is not None, unit.healing is not None
        row.healable = "biological" in unit.attributes and not unit.flies
        row.period = row.health_per_energy = 1.0  # divisors, also where they mean nothing
        if weapon := unit.weapon:
            row.reach, row.hits, row.period = weapon.range, weapon.hits, weapon.cooldown_s * LOOPS_PER_S
            row.splash_length, row.splash_width = weapon.splash_length, weapon.splash_width
            row.blast_radius = weapon.blast_radius
        if healing := unit.healing:
            row.reach, row.heal = healing.range, healing.health_per_s / LOOPS_PER_S
            row.health_per_energy, row.energy = healing.health_per_energy, healing.energy
            row.energy_max, row.energy_regen = healing.energy_max, healing.energy_per_s / LOOPS_PER_S
    return kinds


def make_damage(types: Sequence[UnitType]) -> np.ndarray:
    """Damage of a hit before armour, float64 [K attacker, K target]; 0 when the target is out of the weapon's plane."""
    return np.array([[u.damage_per_hit(v) for v in types] for u in types], dtype=np.float64)
