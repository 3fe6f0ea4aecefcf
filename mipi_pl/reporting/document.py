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

    def html(self) -> str:
        """Return the heading in HTML."""
        return f"<h{self.level}>{html.escape(self.text)}</h{self.level}>"

    def markdown(self) -> str:
        """Return the heading in Markdown."""
        return f"{'#' * self.level} {_plain(self.text)}"


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text."""

    text: str

    def html(self) -> str:
        """Return the paragraph in HTML."""
        return f"<p>{html.escape(self.text)}</p>"

    def markdown(self) -> str:
        """Return the paragraph in Markdown."""
        return _plain(self.text)


@dataclass(frozen=True)
class Notes:
    """A highlighted list of notes."""

    lines: Sequence[str]

    def html(self) -> str:
        """Return the list in HTML."""
        return '<ul class="notes">' + "".join(f"<li>{html.escape(line)}</li>" for line in self.lines) + "</ul>"

    def markdown(self) -> str:
        """Return the list in Markdown, as a quotation."""
        return "\n".join(f"> * {_plain(line)}" for line in self.lines)


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

    def html(self) -> str:
        """Return the table in HTML, within a part of the page that scrolls if it is too wide."""
        head = "".join(f'<th scope="col">{_breakable(cell)}</th>' for cell in self.header)
        rows = []
        for place, (first, *others) in enumerate(self.rows):
            series = f' data-series="{html.escape(self.series[place])}"' if self.series else ""
            cells = "".join(f"<td>{_breakable(cell) if self.is_text else html.escape(cell)}</td>" for cell in others)
            rows.append(f'<tr{series}><th scope="row">{_breakable(first)}</th>{cells}</tr>')
        kind = ' class="text"' if self.is_text else ""
        table = f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        return f'<div class="scroll" tabindex="0">{table}</div>'

    def markdown(self) -> str:
        """Return the table in Markdown."""
        others = "---" if self.is_text else "---:"
        rows = [self.header, ["---", *[others] * (len(self.header) - 1)], *self.rows]
        return "\n".join("| " + " | ".join(map(_plain, row)) + " |" for row in rows)


@dataclass(frozen=True)
class Filter:
    """Switches of the page that show and hide series in the tables and pictures of its section.

    Attributes:
        series: name and colour of each series, in the order of the pictures.
    """

    series: Sequence[tuple[str, str]]

    def html(self) -> str:
        """Return a check box for each series, hidden until the script that handles them runs."""
        boxes = (
            f'<label><input type="checkbox" checked value="{html.escape(name)}">'
            f'<span style="background: {colour}"></span>{html.escape(name)}</label>'
            for name, colour in self.series
        )
        return f'<fieldset class="filter" hidden><legend>show</legend>{"".join(boxes)}</fieldset>'

    def markdown(self) -> str:
        """Return an empty text: Markdown has no switches."""
        return ""


@dataclass(frozen=True)
class Code:
    """Preformatted lines, such as commands."""

    lines: Sequence[str]

    def html(self) -> str:
        """Return the lines in HTML."""
        return f"<pre>{html.escape(chr(10).join(self.lines))}</pre>"

    def markdown(self) -> str:
        """Return the lines in Markdown, indented."""
        return "\n".join(f"    {line}" for line in self.lines)


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

    def html(self) -> str:
        """Return the picture in HTML, with the SVG inside."""
        caption = html.escape(self.caption)
        image = f'<div role="img" aria-label="{caption}">{for_page(self.svg, self.name)}</div>'
        return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"

    def markdown(self) -> str:
        """Return a reference to the file of the picture in Markdown."""
        return f"![{_plain(self.caption)}]({self.name}.svg)"


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
            unfinished.write_text(content, encoding="utf-8", errors="backslashreplace")  # of a path in a command


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
        parts.append(block.html())
    body = "\n".join([*parts, "</section>" if is_open else ""])
    start = f'<!DOCTYPE html>\n<html lang="en"><head>{head}\n<style>\n{_part("report.css")}</style></head>'
    return f"{start}\n<body>\n{body}\n<script>\n{_part('report.js')}</script>\n</body></html>\n"


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _breakable(text: str) -> str:
    """Allow line breaks inside long names."""
    return re.sub(r"(\w)([._=/]+)(?=\w)", r"\1\2<wbr>", html.escape(text))


def as_markdown(blocks: Sequence[Block]) -> str:
    """Format the blocks as Markdown that refers to the picture files."""
    return "\n\n".join(text for block in blocks if (text := block.markdown())) + "\n"


def _plain(text: str) -> str:
    """Escape Markdown's special characters and join lines."""
    for mark in ("\\", "|", "<", "[", "]", "_", "*", "`"):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
