"""The unit table: loads units.yaml into validated dataclasses and converts them to arrays for the kernels."""

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
"""Game loops per second at the game speed 'faster'."""
FASTEST_PER_S = 5.5
"""Maximum unit speed in map units per second.

Movement only considers neighbours within half a map unit, so the steps of two units in one loop must not exceed that.
"""

_Part = TypeVar("_Part")


@dataclass(frozen=True)
class Weapon:
    """A weapon that attacks every `cooldown_s` seconds with `hits` hits of `damage`, plus `bonus` against an attribute.

    `range` is from edge to edge. `splash_length` (across the line of fire) and `splash_width` (along it) define a
    rectangle centred on the target, in which every ground enemy is hit; 0 means no splash. With a `blast_radius` the
    weapon is an explosive charge: when the unit attacks or dies, every ground enemy within that distance is hit and the
    unit dies.
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
    """The ability of a healer: restores `health_per_s` to one living ground ally and costs energy."""

    range: float
    health_per_s: float
    health_per_energy: float
    energy: float
    energy_max: float
    energy_per_s: float


@dataclass(frozen=True)
class UnitType:
    """One entry of units.yaml.

    `health_per_s` is the unit's own regeneration. `tall` units stand on the ground but anti-air weapons can hit them
    too.

    Raises:
        ValueError: if the unit is faster than `FASTEST_PER_S`.
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
        """Whether the weapon can hit the plane (ground or air) of the other unit."""
        if self.weapon is None:
            return False
        return (self.weapon.hits_ground and not other.flies) or (self.weapon.hits_air and (other.flies or other.tall))

    def damage_per_hit(self, other: UnitType) -> float:
        """Damage per hit before armour; 0 if the weapon cannot hit the other unit's plane."""
        if self.weapon is None or not self.can_target(other):
            return 0.0
        return self.weapon.damage + (self.weapon.bonus if self.weapon.bonus_against in other.attributes else 0.0)


def _part(cls: type[_Part], values: Mapping[str, Any], owner: str) -> _Part:
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    if unknown := set(values) - known:
        raise ValueError(f"{owner} in units.yaml has unknown keys {sorted(unknown)}; known keys are {sorted(known)}")
    return cls(**values)


@cache
def load_units() -> dict[str, UnitType]:
    """Return all unit types of units.yaml by name."""
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
    """Return the named unit types in the given order.

    Raises:
        ValueError: if units.yaml does not have one of the names.
    """
    units = load_units()
    if unknown := [name for name in names if name not in units]:
        raise ValueError(f"unknown unit types {unknown}; units.yaml has {sorted(units)}")
    return tuple(units[name] for name in names)


def make_kinds(types: Sequence[UnitType]) -> Records:
    """Return the unit table of a family for the kernels: KIND [K], lengths in map units, times in game loops."""
    kinds = np.zeros(len(types), dtype=KIND)
    for row, unit in zip(kinds, types, strict=True):
        row.health, row.shield, row.armour, row.radius = unit.health, unit.shield, unit.armour, unit.radius
        row.speed, row.health_regen = unit.speed_per_s / LOOPS_PER_S, unit.health_per_s / LOOPS_PER_S
        row.flies, row.fights, row.heals = unit.flies, unit.weapon is not None, unit.healing is not None
        row.healable = "biological" in unit.attributes and not unit.flies
        row.period = row.health_per_energy = 1.0  # divisors must not be 0, even if the unit does not use them
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
    """Return the damage per hit before armour, float64 [K attacker, K target]; 0 if it cannot hit the target."""
    return np.array([[u.damage_per_hit(v) for v in types] for u in types], dtype=np.float64)
