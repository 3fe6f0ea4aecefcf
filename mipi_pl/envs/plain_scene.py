"""A plain picture of a world without a method `scene`, from the features that hold positions."""

from __future__ import annotations

from mipi_pl import spec as keys
from mipi_pl.envs.frame import Frame
from mipi_pl.envs.scene import AGENTS, THINGS, Body, Scene, View
from mipi_pl.spec import EntitySpec

POSITIONS = (("x", "y"), ("position_x", "position_y"), ("pos_x", "pos_y"), ("x_position", "y_position"))
"""Names of the features that hold positions, horizontal and vertical; the first pair that a spec has is drawn."""
_GROUNDS = ((0.0, 0.0, 1.0), (-1.0, -1.0, 2.0))
"""Grounds of worlds with normalised positions; others get the smallest square around all bodies."""


def position_columns(spec: EntitySpec) -> tuple[int, int] | None:
    """Return the indices of the features that hold positions; None if no pair of them has one of the known names."""
    names = spec.feature_names
    for x, y in POSITIONS:
        if x in names and y in names:
            return names.index(x), names.index(y)
    return None


def plain_scene(spec: EntitySpec, frame: Frame, index: int, world: str) -> Scene:
    """Return environment `index` as a scene: one body per filled slot, discs for agents and squares for other entities.

    Args:
        spec: sizes and feature names of the world.
        frame: last step of all environments.
        index: environment.
        world: name of the world's class, for the message.

    Raises:
        NotImplementedError: if the spec names no positions.
    """
    if (columns := position_columns(spec)) is None:
        raise NotImplementedError(
            f"{world} has no pictures: name two features of its EntitySpec x and y (feature_names), or implement its "
            "method scene"
        )
    places: list[list[float]] = frame.entities[index][:, columns].tolist()
    filled = frame.present[index].nonzero().flatten().tolist()
    acting = keys.acting(frame.visible[index]).tolist()
    ground = _ground([places[slot] for slot in filled])
    bodies = []
    for slot in filled:
        is_agent = slot < spec.n_agents
        side, kind, number = (AGENTS, "agent", slot) if is_agent else (THINGS, "entity", slot - spec.n_agents)
        here, (x, y) = not is_agent or acting[slot], places[slot]
        bodies.append(Body(slot, side, kind, f"{kind} {number}", str(number), x, y, ground[2] / 40, here=here))
    over = bool(frame.terminated[index]) or bool(frame.truncated[index])
    return Scene(tuple(bodies), ground, None, "over" if over else "")


def _ground(places: list[list[float]]) -> View:
    """Return the square that contains the positions."""
    xs, ys = ([place[axis] for place in places] or [0.0] for axis in (0, 1))  # no entity is there at the end of some
    west, east, south, north = min(xs), max(xs), min(ys), max(ys)
    for ground in _GROUNDS:
        low, side = ground[0], ground[2]
        if min(west, south) >= low and max(east, north) <= low + side:
            return ground
    side = max(east - west, north - south, 1e-6) * 1.1
    return (west + east - side) / 2, (south + north - side) / 2, side
