"""Scene: the state of one environment in a form common to all worlds, for pictures, videos and the watch page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

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


def aligned(scenes: Sequence[Scene]) -> list[Scene]:
    """Give all scenes of an episode the same bodies and the same ground, as a page or a video needs them.

    A body that is missing in a scene, such as an agent that has left or not yet appeared, is shown as gone: at its last
    place, or at its first one before it appears.
    """
    slots = {tuple(body.slot for body in scene.bodies) for scene in scenes}
    grounds = {scene.size for scene in scenes}
    if len(slots) == len(grounds) == 1:
        return list(scenes)
    west, south = (min(ground[axis] for ground in grounds) for axis in (0, 1))
    side = max(max(ground[0] - west, ground[1] - south) + ground[2] for ground in grounds)
    known = {body.slot: body for scene in reversed(scenes) for body in scene.bodies}
    filled = []
    for scene in scenes:
        gone = {slot: replace(body, here=False, target=None) for slot, body in known.items()}
        known = {**known, **{body.slot: body for body in scene.bodies}}
        bodies = {**gone, **{body.slot: body for body in scene.bodies}}
        filled.append(replace(scene, bodies=tuple(bodies[slot] for slot in sorted(bodies)), size=(west, south, side)))
    return filled
