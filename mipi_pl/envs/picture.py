"""Draws a scene: shapes by kind, colours by side, bars for health and shield, lines to targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mipi_pl.envs.scene import AGENTS, OTHERS, THINGS, Body, Scene, View

SIDE_COLOURS = {AGENTS: (38, 98, 173), OTHERS: (194, 65, 12), THINGS: (107, 114, 128)}
"""RGB colour of each side. The page of `mipi watch` uses the same colours."""
CORNERS = (0, 4, 3, 6, 5, 8)
"""Number of corners of the shape of each kind, kinds sorted by name; 0 is a disc."""
_GROUND, _OUTSIDE, _GRID, _TEXT = (250, 250, 248), (226, 227, 223), (234, 235, 231), (31, 36, 40)
_HEALTH, _SHIELD, _EMPTY, _GONE = (46, 139, 87), (64, 160, 220), (206, 208, 204), (176, 180, 176)
_FINE = 2  # supersampling factor: the scene is drawn this many times larger, then scaled down for smooth edges


def draw(scene: Scene, title: str = "", view: View | None = None, size: int = 480) -> np.ndarray:
    """Draw a scene from above, north up. Dead or absent bodies are drawn as crosses.

    Args:
        scene: scene from ``env.scene(index)``.
        title: text above the picture.
        view: part of the ground to show; None shows all of it.
        size: width in pixels. The title bar adds to the height.

    Returns:
        uint8 [height, size, 3], RGB.
    """
    west, south, side = scene.size if view is None else view
    bar = max(size // 16, 18)
    big, scale = size * _FINE, size * _FINE / side
    image = Image.new("RGB", (big, big), _OUTSIDE)
    canvas = ImageDraw.Draw(image)

    def place(x: float, y: float) -> tuple[float, float]:
        return (x - west) * scale, big - (y - south) * scale

    _draw_ground(canvas, scene, scale, place(scene.size[0], scene.size[1] + scene.size[2]))
    kinds = sorted({body.kind for body in scene.bodies})
    centres = {body.slot: place(body.x, body.y) for body in scene.bodies}
    back_to_front = sorted(scene.bodies, key=lambda body: (body.here, -body.side))
    for body in back_to_front:
        if body.here and body.target is not None and body.target in centres:
            canvas.line([centres[body.slot], centres[body.target]], fill=_pale(SIDE_COLOURS[body.side]), width=_FINE)
    for body in back_to_front:
        _draw_body(canvas, body, centres[body.slot], max(body.radius * scale, 5.0 * _FINE), kinds)
    picture = Image.new("RGB", (size, size + bar), _GROUND)
    picture.paste(image.resize((size, size), Image.Resampling.LANCZOS), (0, bar))
    width = _font(bar * 0.6).getlength(title)
    font = _font(bar * 0.6 * min(1.0, (size - 12) / max(width, 1.0)))
    ImageDraw.Draw(picture).text((6, bar / 2), title, fill=_TEXT, font=font, anchor="lm")
    return np.asarray(picture)


def draw_legend(scene: Scene, width: int = 480) -> np.ndarray:
    """Draw what the shapes, colours, bars, lines and crosses in the pictures of a scene mean, to stand below them.

    Args:
        scene: scene from ``env.scene(index)``, best at the start of an episode, with all its bodies.
        width: width in pixels.

    Returns:
        uint8 [height, width, 3], RGB.
    """
    line, indent, r = 26 * _FINE, 12 * _FINE, 8 * _FINE
    font = _font(13.0 * _FINE)
    x, y = float(indent), line / 2
    placed: list[tuple[float, float, str, Symbol]] = []
    for text, symbol in _entries(scene):
        needed = 3.2 * r + font.getlength(text)
        if x > indent and x + needed > width * _FINE:
            x, y = indent, y + line
        placed.append((x + r, y, text, symbol))
        x += needed + 1.5 * r
    image = Image.new("RGB", (width * _FINE, round(y + line / 2)), _GROUND)
    canvas = ImageDraw.Draw(image)
    for x, y, text, symbol in placed:
        symbol(canvas, x, y, r)
        canvas.text((x + 1.6 * r, y), text, fill=_TEXT, font=font, anchor="lm")
    return np.asarray(image.resize((width, image.height // _FINE), Image.Resampling.LANCZOS))


Symbol = Callable[[ImageDraw.ImageDraw, float, float, float], None]


def _entries(scene: Scene) -> list[tuple[str, Symbol]]:
    """Text and symbol of each entry of the legend; a symbol is drawn at a place, with a radius."""
    kinds = sorted({body.kind for body in scene.bodies})
    names = {AGENTS: "agents", OTHERS: "opponents", THINGS: "things"}
    entries: list[tuple[str, Symbol]] = []
    for side, name in names.items():
        if any(body.side == side for body in scene.bodies):
            entries.append((name, partial(_draw_square, colour=SIDE_COLOURS[side])))
    if len(kinds) > 1:
        entries += [(kind, partial(_draw_shape, corners=_corners_of(kind, kinds), colour=_TEXT)) for kind in kinds]
    for name, colour in (("shield", _SHIELD), ("health", _HEALTH)):
        if any(getattr(body, name) is not None for body in scene.bodies):
            entries.append((name, partial(_draw_bar, colour=colour)))
    return [*entries, ("line to the target", partial(_draw_line, colour=_pale(_TEXT))), ("dead or absent", _draw_cross)]


def title_of(scene: Scene, step: int, name: str) -> str:
    """Return the title of a picture: policy name, step, bodies left on each side, status of the episode."""
    left = [sum(body.here for body in scene.bodies if body.side == side) for side in (AGENTS, OTHERS)]
    return f"{name}   step {step}   {left[0]} : {left[1]}   {scene.outcome}"


def _draw_ground(canvas: ImageDraw.ImageDraw, scene: Scene, scale: float, corner: tuple[float, float]) -> None:
    side = scene.size[2] * scale
    (x, y), step = corner, side / 8
    canvas.rectangle([x, y, x + side, y + side], fill=_GROUND)
    for k in range(1, 8):
        canvas.line([(x + k * step, y), (x + k * step, y + side)], fill=_GRID, width=_FINE)
        canvas.line([(x, y + k * step), (x + side, y + k * step)], fill=_GRID, width=_FINE)


def _draw_body(
    canvas: ImageDraw.ImageDraw, body: Body, at: tuple[float, float], r: float, kinds: Sequence[str]
) -> None:
    (x, y), colour = at, SIDE_COLOURS[body.side]
    if not body.here:
        _draw_cross(canvas, x, y, r)
        return
    _draw_shape(canvas, x, y, r, _corners_of(body.kind, kinds), colour)
    canvas.text((x, y), body.label, fill="white", font=_font(max(r, 8.0 * _FINE)), anchor="mm")
    top = y - r - 3 * _FINE
    for share, filled in ((body.health, _HEALTH), (body.shield, _SHIELD)):
        if share is not None:
            height = 2.5 * _FINE
            canvas.rectangle([x - r, top - height, x + r, top], fill=_EMPTY)
            canvas.rectangle([x - r, top - height, x - r + 2 * r * min(max(share, 0.0), 1.0), top], fill=filled)
            top -= height + _FINE


def _draw_shape(
    canvas: ImageDraw.ImageDraw, x: float, y: float, r: float, corners: int, colour: tuple[int, int, int]
) -> None:
    if corners:
        canvas.polygon(_corners(x, y, r * 1.15, corners), fill=colour)
    else:
        canvas.ellipse([x - r, y - r, x + r, y + r], fill=colour)


def _draw_cross(canvas: ImageDraw.ImageDraw, x: float, y: float, r: float) -> None:
    d = r * 0.6
    for line in ([(x - d, y - d), (x + d, y + d)], [(x - d, y + d), (x + d, y - d)]):
        canvas.line(line, fill=_GONE, width=2 * _FINE)


def _draw_square(canvas: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: tuple[int, int, int]) -> None:
    """A patch of colour, which is not the shape of a kind."""
    canvas.rectangle([x - r, y - 0.6 * r, x + r, y + 0.6 * r], fill=colour)


def _draw_bar(canvas: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: tuple[int, int, int]) -> None:
    canvas.rectangle([x - r, y - 1.25 * _FINE, x + r, y + 1.25 * _FINE], fill=_EMPTY)
    canvas.rectangle([x - r, y - 1.25 * _FINE, x + 0.4 * r, y + 1.25 * _FINE], fill=colour)


def _draw_line(canvas: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: tuple[int, int, int]) -> None:
    canvas.line([(x - r, y), (x + r, y)], fill=colour, width=_FINE)


def _corners_of(kind: str, kinds: Sequence[str]) -> int:
    return CORNERS[kinds.index(kind) % len(CORNERS)]


def _corners(x: float, y: float, r: float, n: int) -> list[tuple[float, float]]:
    turn = math.pi / n if n % 2 == 0 else 0.0
    angles = [turn + 2 * math.pi * k / n for k in range(n)]
    return [(x + r * math.sin(angle), y - r * math.cos(angle)) for angle in angles]


def _pale(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = ((c + 255) // 2 for c in colour)
    return red, green, blue


@cache
def _font(size: float) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
