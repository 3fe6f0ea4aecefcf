"""A report as a sequence of blocks, written as one self-contained HTML page and as Markdown with picture files."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mipi_pl.reporting.svg import for_page
from mipi_pl.storage.files import replacing


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title of the report."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Notes:
    """A highlighted list of notes."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table with the first column left-aligned and the others right-aligned.

    Attributes:
        header: titles of the columns.
        rows: cells of each row, as many as columns.
        series: name of the series of each row, for the filter of the page; empty for none.
        is_text: whether cells are texts, left-aligned and wrapped, and the page can search in the rows.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    series: Sequence[str] = ()
    is_text: bool = False


@dataclass(frozen=True)
class Filter:
    """Switches of the page that show and hide series in the tables and pictures of its section.

    Attributes:
        series: name and colour of each series, in the order of the pictures.
    """

    series: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Preformatted lines, such as commands."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Picture:
    """An SVG picture.

    Attributes:
        name: name of its file, without suffix.
        svg: content of the file.
        caption: text below the picture, also its alternative text for screen readers.
    """

    name: str
    svg: str
    caption: str


Block = Heading | Paragraph | Notes | Table | Filter | Code | Picture


def write(folder: Path, blocks: Sequence[Block]) -> None:
    """Write report.html, report.md and the picture files of report.md to a folder.

    Raises:
        OSError: if a file cannot be written.
    """
    contents = {"report.html": as_html(blocks), "report.md": as_markdown(blocks)}
    contents |= {f"{block.name}.svg": block.svg for block in blocks if isinstance(block, Picture)}
    for name, content in contents.items():
        with replacing(folder / name) as unfinished:
            unfinished.write_text(content, encoding="utf-8")


def as_html(blocks: Sequence[Block]) -> str:
    """Format the blocks as one HTML page with its pictures, style and script inside, which loads nothing else.

    The blocks from a heading of level 2 to the next one are a section.
    """
    title = next((block.text for block in blocks if isinstance(block, Heading)), "report")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta name="color-scheme" content="light dark"><title>{html.escape(title)}</title>'
    )
    parts, is_open = [], False
    for block in blocks:
        if isinstance(block, Heading) and block.level == 2:
            parts.append(f"{'</section>' if is_open else ''}<section>")
            is_open = True
        parts.append(_html(block))
    body = "\n".join([*parts, "</section>" if is_open else ""])
    start = f'<!DOCTYPE html>\n<html lang="en"><head>{head}\n<style>\n{_part("report.css")}</style></head>'
    return f"{start}\n<body>\n{body}\n<script>\n{_part('report.js')}</script>\n</body></html>\n"


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _html(block: Block) -> str:
    safe = html.escape
    if isinstance(block, Heading):
        return f"<h{block.level}>{safe(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{safe(block.text)}</p>"
    if isinstance(block, Notes):
        return '<ul class="notes">' + "".join(f"<li>{safe(line)}</li>" for line in block.lines) + "</ul>"
    if isinstance(block, Code):
        return f"<pre>{safe(chr(10).join(block.lines))}</pre>"
    if isinstance(block, Filter):
        return _filter_html(block)
    if isinstance(block, Picture):
        caption = safe(block.caption)
        image = f'<div role="img" aria-label="{caption}">{for_page(block.svg, block.name)}</div>'
        return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
    return _table_html(block)


def _filter_html(block: Filter) -> str:
    """Hidden until the script runs, because it does nothing without."""
    boxes = (
        f'<label><input type="checkbox" checked value="{html.escape(name)}">'
        f'<span style="background: {colour}"></span>{html.escape(name)}</label>'
        for name, colour in block.series
    )
    return f'<fieldset class="filter" hidden><legend>show</legend>{"".join(boxes)}</fieldset>'


def _table_html(block: Table) -> str:
    head = "".join(f'<th scope="col">{_breakable(cell)}</th>' for cell in block.header)
    rows = []
    for place, (first, *others) in enumerate(block.rows):
        series = f' data-series="{html.escape(block.series[place])}"' if block.series else ""
        cells = "".join(f"<td>{_breakable(cell) if block.is_text else html.escape(cell)}</td>" for cell in others)
        rows.append(f'<tr{series}><th scope="row">{_breakable(first)}</th>{cells}</tr>')
    kind = ' class="text"' if block.is_text else ""
    table = f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _breakable(text: str) -> str:
    """Allow line breaks inside long names."""
    return re.sub(r"(\w)([._=/]+)(?=\w)", r"\1\2<wbr>", html.escape(text))


def as_markdown(blocks: Sequence[Block]) -> str:
    """Format the blocks as Markdown that refers to the picture files."""
    return "\n\n".join(text for text in map(_markdown, blocks) if text) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_plain(block.text)}"
    if isinstance(block, Paragraph):
        return _plain(block.text)
    if isinstance(block, Notes):
        return "\n".join(f"> * {_plain(line)}" for line in block.lines)
    if isinstance(block, Code):
        return "\n".join(f"    {line}" for line in block.lines)
    if isinstance(block, Filter):
        return ""
    if isinstance(block, Picture):
        return f"![{_plain(block.caption)}]({block.name}.svg)"
    others = "---" if block.is_text else "---:"
    rows = [block.header, ["---", *[others] * (len(block.header) - 1)], *block.rows]
    return "\n".join("| " + " | ".join(map(_plain, row)) + " |" for row in rows)


def _plain(text: str) -> str:
    """Escapes Markdown's special characters and joins lines."""
    for mark in ("\\", "|", "<", "[", "]", "_", "*", "`"):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
