"""A report as a sequence of blocks, written as one self-contained HTML page and as Markdown with picture files."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """A table with the first column left-aligned and the others right-aligned."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


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


Block = Heading | Paragraph | Notes | Table | Code | Picture

_STYLE = """\
body { font: 14px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 68rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.3rem; border-bottom: 1px solid #ccc; margin-top: 2.2rem; }
h3 { font-size: 1.05rem; }
table { border-collapse: collapse; margin: 0.8rem 0; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: 0.25rem 0.7rem; text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
.notes { background: #fff6e5; border-left: 4px solid #e69f00; padding: 0.5rem 1rem 0.5rem 2rem; }
figure { margin: 1rem 0; } figure img { max-width: 100%; } figcaption { color: #555; font-size: 0.9rem; }
pre { background: #f5f5f5; padding: 0.6rem; overflow-x: auto; font-size: 0.85rem; }
"""


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
    """Format the blocks as one HTML page with embedded pictures, which loads nothing else."""
    title = next((block.text for block in blocks if isinstance(block, Heading)), "report")
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    body = "\n".join(map(_html, blocks))
    start = f'<!DOCTYPE html>\n<html lang="en"><head>{head}\n<style>\n{_STYLE}</style></head>'
    return f"{start}\n<body>\n{body}\n</body></html>\n"


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
    if isinstance(block, Picture):
        data = base64.b64encode(block.svg.encode()).decode()
        image = f'<img src="data:image/svg+xml;base64,{data}" alt="{safe(block.caption)}">'
        return f"<figure>{image}<figcaption>{safe(block.caption)}</figcaption></figure>"
    head = "".join(f"<th>{safe(cell)}</th>" for cell in block.header)
    rows = ("".join(f"<td>{safe(cell)}</td>" for cell in row) for row in block.rows)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def as_markdown(blocks: Sequence[Block]) -> str:
    """Format the blocks as Markdown that refers to the picture files."""
    return "\n\n".join(map(_markdown, blocks)) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_plain(block.text)}"
    if isinstance(block, Paragraph):
        return _plain(block.text)
    if isinstance(block, Notes):
        return "\n".join(f"> * {_plain(line)}" for line in block.lines)
    if isinstance(block, Code):
        return "\n".join(f"    {line}" for line in block.lines)
    if isinstance(block, Picture):
        return f"![{_plain(block.caption)}]({block.name}.svg)"
    rows = [block.header, ["---", *["---:"] * (len(block.header) - 1)], *block.rows]
    return "\n".join("| " + " | ".join(map(_plain, row)) + " |" for row in rows)


def _plain(text: str) -> str:
    """Escapes Markdown's special characters and joins lines."""
    for mark in ("\\", "|", "<", "[", "]", "_", "*", "`"):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
