"""The policies that come with the program, which are selected by name. This module does not import PyTorch."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from mipi_pl.storage.files import is_file

SUFFIX = ".safetensors"
"""Suffix of a policy file, see `mipi_pl.storage.weights`."""
_FOLDER = "shipped"


def names() -> list[str]:
    """Return the names of the policies that come with the program."""
    return sorted(
        entry.name.removesuffix(SUFFIX)
        for entry in files("mipi_pl").joinpath(_FOLDER).iterdir()
        if entry.name.endswith(SUFFIX)
    )


def located(word: Path) -> Path:
    """Return `word` if it is a file, the path of the shipped policy with that name, or else `word` unchanged."""
    if not is_file(word) and str(word) in names():
        with as_file(files("mipi_pl").joinpath(_FOLDER, f"{word}{SUFFIX}")) as path:
            return path
    return word


def is_shipped(path: Path) -> bool:
    """Return whether a file is a shipped policy; results must not be written next to it."""
    return path.parent.name == _FOLDER and path.parent.parent == Path(__file__).resolve().parents[1]
