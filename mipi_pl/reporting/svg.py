"""SVG of a figure with the series and the tooltip of each mark, for pages and for files."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from mipi_pl.evaluation.style import GRID, INK, PALETTE, PAPER

_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_PAGE_COLOURS = {
    INK: "currentColor",
    GRID: "var(--line)",
    PAPER: "var(--paper)",
    "#555555": "var(--soft)",
    PALETTE[0].lower(): "var(--blue)",
}


class Marks:
    """The artists of a figure that belong to a series, with their tooltips."""

    def __init__(self) -> None:
        self._series: list[tuple[str, Sequence[str]]] = []

    def add(self, artist: Artist, series: str, tips: Sequence[str] = ()) -> None:
        """Say which series an artist belongs to.

        Args:
            artist: artist of the figure; it must have nothing but markers if it has tips.
            series: name of the series.
            tips: text of each marker, in the order of the points.
        """
        artist.set_gid(f"mark{len(self._series)}")
        self._series.append((series, tips))

    def svg(self, figure: Figure, name: str) -> str:
        """Return the SVG without date and with reproducible ids, so that equal runs give equal files.

        Each mark is a group with the attribute ``data-series``, and each tooltip a ``title`` in its marker.
        """
        stream = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
            figure.savefig(stream, format="svg", metadata=_NO_METADATA)
        text = stream.getvalue()
        text = text[text.index("<svg") :]
        for number, (series, tips) in enumerate(self._series):
            before, found, after = text.partition(f'<g id="mark{number}">')
            if found:
                text = f'{before}<g data-series="{html.escape(series)}">{_with_tips(after, series, tips)}'
        return text


def for_page(svg: str, name: str) -> str:
    """Return an SVG to stand inside a page, in its colours and with ids that no other picture has.

    Args:
        svg: SVG of `Marks.svg`.
        name: unique name of the picture.
    """
    for colour, of_page in _PAGE_COLOURS.items():
        svg = svg.replace(f": {colour}", f": {of_page}")
    svg = re.sub(r' id="([^"]+)"', rf' id="{name}-\1"', svg)
    return re.sub(r"(href=\"|url\()#", rf"\1#{name}-", svg)


def _with_tips(text: str, series: str, tips: Sequence[str]) -> str:
    """Put a title into each of the first markers of a text."""
    if not tips:
        return text
    parts = re.split(r"(<use [^>]*)/>", text, maxsplit=len(tips))
    titles = [f"><title>{html.escape(series)}\n{html.escape(tip)}</title></use>" for tip in tips]
    return "".join(part + (titles[place // 2] if place % 2 else "") for place, part in enumerate(parts))
