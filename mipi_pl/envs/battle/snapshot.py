"""A copy of one battle at one moment: for pictures, tests and looking around."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UnitView:
    """One unit. `side` is 0 for the agents, 1 for the enemies; `cooldown_s` is what is left until it can fire."""

    slot: int
    side: int
    type: str
    tag: int
    alive: bool
    flies: bool
    x: float
    y: float
    radius: float
    health: float
    health_max: float
    shield: float
    shield_max: float
    energy: float
    energy_max: float
    cooldown_s: float
    order: str
    target: int | None


@dataclass(frozen=True)
class BattleSnapshot:
    """One battle; nothing in it changes when the battle goes on. `units` has an entry for each slot that is filled."""

    map_size: float
    steps: int
    composition: str
    outcome: str
    units: tuple[UnitView, ...]

    def in_slot(self, slot: int) -> UnitView:
        """The unit in a slot.

        Raises:
            KeyError: if the slot is empty.
        """
        for unit in self.units:
            if unit.slot == slot:
                return unit
        raise KeyError(f"slot {slot} is empty; filled are {[unit.slot for unit in self.units]}")
