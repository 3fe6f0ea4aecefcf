"""Scene: the state of one environment in a form common to all worlds, for pictures, videos and the watch page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

AGENTS, OTHERS, THINGS = range(3)
"""Sides: the agents' team, its opponents, and everything that does not act."""

View = tuple[float, float, float]
"""West edge, south edge and side of the square that is drawn, in the world's units of length."""


@dataclass(frozen=True)
class Body:
    """The entity in one slot, as it is drawn.

    Attributes:
        slot: entity slot.
        side: `AGENTS`, `OTHERS` or `THINGS`.
        kind: type name. Bodies of one kind are drawn in the same shape.
        name: unique name.
        label: short text drawn on the body.
        x, y: centre, in the world's units of length; y points north.
        radius: radius in the same units.
        here: whether it is alive or on the map.
        health, shield: current value as a share of the maximum; None if it has none.
        order: current activity in words.
        target: entity slot that the activity is aimed at.
        carries: kind of the carried object; empty for none.
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
    """A copy of the state of one environment at one step.

    Attributes:
        bodies: one body per filled slot, in ascending order of slots.
        size: west edge, south edge and side of the square ground.
        sight: sight range of an agent, from its centre; None if visibility does not depend on distance.
        outcome: status of the episode in words.
    """

    bodies: tuple[Body, ...]
    size: View
    sight: float | None
    outcome: str


def view_of(scenes: Iterable[Scene], margin: float = 0.08) -> View:
    """Return the smallest square that contains all present bodies of the scenes, plus a margin.

    Args:
        scenes: scenes of an episode.
        margin: margin on each side, as a share of the square's side.

    Raises:
        ValueError: if no scene has a present body.
    """
    bodies = [body for scene in scenes for body in scene.bodies if body.here]
    if not bodies:
        raise ValueError("expected scenes with at least one present body, got none")
    west = min(body.x - body.radius for body in bodies)
    east = max(body.x + body.radius for body in bodies)
    south = min(body.y - body.radius for body in bodies)
    north = max(body.y + body.radius for body in bodies)
    side = max(east - west, north - south) * (1 + 2 * margin)
    return (west + east - side) / 2, (south + north - side) / 2, side
