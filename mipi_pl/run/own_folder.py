"""A folder of the user's own: its configs beside those of the program, its modules beside those that are installed.

``--config-dir FOLDER`` of `mipi train` and the key ``config_dir`` say the same. The config of the run keeps the folder,
so that `mipi eval` and `mipi resume` find the modules again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mipi_pl.utils.errors import UserError

_FLAGS = ("--config-dir", "-cd")
_KEY = "config_dir="


def as_override(arguments: Sequence[str]) -> list[str]:
    """The arguments with the flag written as an override, its folder as an absolute path.

    Raises:
        UserError: if the folder is missing.
    """
    overrides: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, equals, folder = word.partition("=")
        if flag not in (*_FLAGS, _KEY[:-1]) or (flag == _KEY[:-1] and folder == "null"):
            overrides.append(word)
            continue
        folder = _unquoted(folder if equals else next(words, ""))
        if not folder or not Path(folder).is_dir():
            raise UserError(f"{flag} must name a folder with your own configs, got {folder or 'nothing'}")
        overrides.append(f"{_KEY}{_quoted(str(Path(folder).resolve()))}")
    return overrides


def named_folder(overrides: Sequence[str]) -> str | None:
    """The folder that is named among the overrides; the last one counts."""
    folders = [_unquoted(override.removeprefix(_KEY)) for override in overrides if override.startswith(_KEY)]
    return folders[-1] if folders and folders[-1] != "null" else None


def search_path(overrides: Sequence[str]) -> list[str]:
    """The override that makes Hydra look into the folder that is named among the overrides; none if none is."""
    folder = named_folder(overrides)
    return [] if folder is None else [f"hydra.searchpath=[{_quoted(f'file://{folder}')}]"]


def _quoted(path: str) -> str:
    """As Hydra's grammar takes it, whose plain words hold no commas, brackets, equals signs or letters beyond ASCII."""
    return "'" + path.replace("'", "\\'") + "'"


def _unquoted(word: str) -> str:
    mark = word[:1]
    whole = len(word) > 1 and mark in ("'", '"') and word.endswith(mark)
    return word[1:-1].replace(f"\\{mark}", mark) if whole else word


def use_modules(folder: str | None) -> None:
    """Let the modules in the folder be imported; where names are equal, those that are installed win."""
    if folder is not None and folder not in sys.path:
        sys.path.append(folder)
