"""Copy of the state of one battle, for pictures, tests and inspection."""

from __future__ import annotations

from dataclasses import dataclass

from mipi_pl.envs.scene import AGENTS, OTHERS, Body, Scene


@dataclass(frozen=True)
class UnitView:
    """One unit. `side` is 0 for agents and 1 for enemies; `cooldown_s` is the time until it can fire again."""

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
    """Copy of one battle that later steps do not change. `units` has one entry per filled slot."""

    map_size: float
    steps: int
    composition: str
    outcome: str
    units: tuple[UnitView, ...]

    def scene(self, sight: float) -> Scene:
        """Convert to the scene format that all worlds share. `sight` is the agents' sight range."""
        return Scene(tuple(_body(unit) for unit in self.units), (0.0, 0.0, self.map_size), sight, self.outcome)


def _body(unit: UnitView) -> Body:
    return Body(
        slot=unit.slot,
        side=OTHERS if unit.side else AGENTS,
        kind=unit.type,
        name=f"{'enemy ' if unit.side else ''}{unit.type} {unit.tag}",
        label=str(unit.tag),
        x=unit.x,
        y=unit.y,
        radius=unit.radius,
        here=unit.alive,
        health=unit.health / unit.health_max,
        shield=unit.shield / unit.shield_max if unit.shield_max else None,
        order=unit.order if unit.alive else "dead",
        target=unit.target if unit.alive else None,
    )
