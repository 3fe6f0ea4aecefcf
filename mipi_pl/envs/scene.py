"""How an environment stands at one moment, in words that every world shares: for pictures, videos and pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

AGENTS, OTHERS, THINGS = range(3)
"""Sides: the team, whoever acts against it, what does not act."""

View = tuple[float, float, float]
"""West edge, south edge and side of the square that is drawn, in the world's units of length."""


@dataclass(frozen=True)
class Body:
    """What fills one entity slot.

    Attributes:
        slot: of the entity.
        side: `AGENTS`, `OTHERS` or `THINGS`.
        kind: type name; bodies of one kind share a shape.
        name: that no other body has.
        label: short, written on the body.
        x, y: place of its middle, north is up.
        radius: in the same units.
        here: alive, or on the map.
        health, shield: shares of the full ones; None where there is none.
        order: what it does, in words.
        target: slot that this is done to.
        carries: kind of what it carries.
    """

    slot: int
    side: int
    kind: str
    name: str
    label: str
    x: float
    y: float
    radius: float
    here: bool = True
    health: float | None = None
    shield: float | None = None
    order: str = ""
    target: int | None = None
    carries: str = ""


@dataclass(frozen=True)
class Scene:
    """One environment at one moment; nothing in it changes when the environment goes on.

    Attributes:
        bodies: one for each filled slot, ascending.
        size: west edge, south edge and side of the square ground.
        sight: how far an agent sees, from its middle; None where sight is not a matter of distance.
        outcome: how the episode stands, in words.
    """

    bodies: tuple[Body, ...]
    size: View
    sight: float | None
    outcome: str


def view_of(scenes: Iterable[Scene], margin: float = 0.08) -> View:
    """The smallest square around all that happens in the scenes, with a margin (a share of its side).

    Raises:
        ValueError: if there is nothing to be seen.
    """
    bodies = [body for scene in scenes for body in scene.bodies if body.here]
    if not bodies:
        raise ValueError("expected scenes in which at least one body is there, got none")
    west = min(body.x - body.radius for body in bodies)
    east = max(body.x + body.radius for body in bodies)
    south = min(body.y - body.radius for body in bodies)
    north = max(body.y + body.radius for body in bodies)
    side = max(east - west, north - south) * (1 + 2 * margin)
    return (west + east - side) / 2, (south + north - side) / 2, side
