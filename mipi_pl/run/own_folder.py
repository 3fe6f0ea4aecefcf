"""The user's own folder of configs and modules, in addition to those of the program.

``mipi train --config-dir FOLDER`` is the same as the override ``config_dir=FOLDER``. The config of the run stores the
folder, so that `mipi eval` and `mipi resume` can import its modules.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mipi_pl.storage.checkpoint_file import Config, read_checkpoint
from mipi_pl.utils.errors import UserError

_FLAGS = ("--config-dir", "-cd")
_KEY = "config_dir="


def as_override(arguments: Sequence[str]) -> list[str]:
    """Replace the flag ``--config-dir`` by an override with the absolute path of the folder.

    Raises:
        UserError: if no folder is given or it does not exist.
    """
    overrides: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, equals, folder = word.partition("=")
        flag = flag.lstrip("+")
        if flag not in (*_FLAGS, _KEY[:-1]) or (flag == _KEY[:-1] and folder == "null"):
            overrides.append(word)
            continue
        folder = _unquoted(folder if equals else next(words, ""))
        if not folder or not Path(folder).is_dir():
            raise UserError(f"{flag} must be an existing folder with your own configs, got {folder or 'nothing'}")
        overrides.append(f"{_KEY}{_quoted(str(Path(folder).resolve()))}")
    return overrides


def named_folder(overrides: Sequence[str]) -> str | None:
    """Return the folder that the last ``config_dir`` override sets, or None."""
    folders = [_unquoted(override.removeprefix(_KEY)) for override in overrides if override.startswith(_KEY)]
    return folders[-1] if folders and folders[-1] != "null" else None


def search_path(overrides: Sequence[str]) -> list[str]:
    """Return the override that adds the user's folder to Hydra's search path, or an empty list if none is set."""
    folder = named_folder(overrides)
    return [] if folder is None else [f"hydra.searchpath=[{_quoted(f'file://{folder}')}]"]


def _quoted(path: str) -> str:
    """Quote a path for Hydra's grammar; unquoted words exclude commas, brackets, equals signs and non-ASCII letters."""
    return "'" + path.replace("'", "\\'") + "'"


def _unquoted(word: str) -> str:
    quote = word[:1]
    is_quoted = len(word) > 1 and quote in ("'", '"') and word.endswith(quote)
    return word[1:-1].replace(f"\\{quote}", quote) if is_quoted else word


def open_run(path: Path) -> tuple[dict[str, Any], Config]:
    """Read a checkpoint and make the modules that its run was trained with importable.

    See `mipi_pl.storage.checkpoint_file.read_checkpoint`.
    """
    content, config = read_checkpoint(path)
    use_modules(config.get("config_dir"))
    return content, config


def use_modules(folder: str | None) -> None:
    """Make the modules in the folder importable; installed modules of the same name take precedence."""
    if folder is not None and folder not in sys.path:
        sys.path.append(folder)
