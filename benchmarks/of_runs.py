"""What the tables of finished runs share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TypeVar

from mipi_pl.utils.errors import UserError

T = TypeVar("T")


def read_or_exit(parser: argparse.ArgumentParser, read: Callable[[Sequence[Path]], T], paths: Sequence[Path]) -> T:
    """Returns what `read` finds at the paths; a mistake of the user ends the script as a wrong argument does."""
    try:
        return read(paths)
    except UserError as error:
        parser.error(str(error))


def parser_of(description: str | None, row: str, picture: str) -> argparse.ArgumentParser:
    """Returns the parser of a script that reads runs and its own tables, and writes a table and a picture.

    Args:
        description: docstring of the script.
        row: what a row of the table is for, such as ``run``.
        picture: what the picture shows.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, nargs="+", help="run folders, folders that contain them, or tables")
    parser.add_argument("--table", type=Path, help=f"write a row per {row} to this CSV")
    parser.add_argument("--picture", type=Path, help=f"draw {picture} to this file")
    return parser


def tables_and_folders(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Returns the paths that are files, and the others."""
    return [path for path in paths if path.is_file()], [path for path in paths if not path.is_file()]


def spread(values: Sequence[float]) -> str:
    """Format a mean, and the standard deviation over seeds if there are several."""
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
