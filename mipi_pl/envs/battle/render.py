"""A picture of a battle: discs by side, bars for health and shield, a letter for the type."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from mipi_pl.envs.battle.snapshot import BattleSnapshot, UnitView

_GROUND, _GRID, _TEXT = (24, 28, 34), (38, 44, 52), (235, 238, 240)
SIDE_COLOURS = ((72, 144, 226), (224, 92, 76))
"""RGB of the agents and of the enemies."""
_HEALTH, _SHIELD, _EMPTY = (96, 200, 96), (120, 200, 240), (70, 74, 80)


def render(battle: BattleSnapshot, size: int = 480) -> np.ndarray:
    """Draw a battle seen from above, north up.

    Args:
        battle: from ``env.snapshot(index)``.
        size: height and width in pixels.

    Returns:
        uint8 [size, size, 3], RGB. Agents are blue, enemies red, the dead hollow; those that fly are on top.
    """
    image = Image.new("RGB", (size, size), _GROUND)
    draw = ImageDraw.Draw(image)
    scale = size / battle.map_size
    for k in range(0, int(battle.map_size) + 1, 4):
        draw.line([(k * scale, 0), (k * scale, size)], fill=_GRID)
        draw.line([(0, size - k * scale), (size, size - k * scale)], fill=_GRID)
    for unit in sorted(battle.units, key=lambda u: (u.alive, u.flies)):
        _draw_unit(draw, unit, scale, size)
    sides = [sum(u.alive for u in battle.units if u.side == side) for side in (0, 1)]
    draw.text((6, 4), f"step {battle.steps}   {sides[0]} : {sides[1]}   {battle.outcome}", fill=_TEXT)
    return np.asarray(image)


def _draw_unit(draw: ImageDraw.ImageDraw, unit: UnitView, scale: float, size: int) -> None:
    x, y, r = unit.x * scale, size - unit.y * scale, max(unit.radius * scale, 3.0)
    if not unit.alive:
        draw.ellipse([x - r, y - r, x + r, y + r], outline=tuple(c // 3 for c in SIDE_COLOURS[unit.side]))
        return
    draw.ellipse([x - r, y - r, x + r, y + r], fill=SIDE_COLOURS[unit.side])
    draw.text((x, y), unit.type[:2].capitalize(), fill=_TEXT, anchor="mm")
    top = y - r - 4
    for share, colour in ((unit.health / unit.health_max, _HEALTH), (unit.shield / (unit.shield_max or 1.0), _SHIELD)):
        if colour == _SHIELD and unit.shield_max == 0.0:
            continue
        draw.rectangle([x - r, top - 2, x + r, top], fill=_EMPTY)
        draw.rectangle([x - r, top - 2, x - r + 2 * r * share, top], fill=colour)
        top -= 4
