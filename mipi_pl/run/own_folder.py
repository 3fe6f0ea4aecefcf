"""The user's own folder of configs and modules, in addition to those of the program.

``mipi train --config-dir FOLDER`` is the same as the override ``config_dir=FOLDER``. The config of the run stores the
folder, and `mipi eval`, `mipi watch` and `mipi resume` name it if they need it; see `open_run`.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from mipi_pl.run.config_files import CONFIG_DIR
from mipi_pl.run.schema import Config
from mipi_pl.storage import run_folder
from mipi_pl.storage.checkpoint_file import read_checkpoint
from mipi_pl.utils.errors import UserError

_KEY = "config_dir="


def as_override(arguments: Sequence[str]) -> list[str]:
    """Replace the flag ``--config-dir`` by an override with the absolute path of the folder.

    A ``~`` at the beginning of ``output_dir`` is expanded too, because Hydra's grammar does not read it and Hydra uses
    the value for the folder of a multirun.

    Raises:
        UserError: if no folder is given or it does not exist.
    """
    overrides: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, equals, folder = word.partition("=")
        flag = flag.lstrip("+")
        if flag == "output_dir" and _unquoted(folder).startswith("~"):
            word = f"{flag}={_quoted(os.path.expanduser(_unquoted(folder)))}"
        if flag not in (*CONFIG_DIR, _KEY[:-1]) or (flag == _KEY[:-1] and folder == "null"):
            overrides.append(word)
            continue
        folder = _unquoted(folder if equals else next(words, ""))
        overrides.append(f"{_KEY}{_quoted(str(_found(folder, flag)))}")
    return overrides


def existing(folder: str | None) -> Path | None:
    """Return the folder that the flag ``--config-dir`` of a command names, as an absolute path; None without the flag.

    Raises:
        UserError: if it does not exist.
    """
    return None if folder is None else _found(folder, CONFIG_DIR[0])


def _found(folder: str, flag: str) -> Path:
    folder = os.path.expanduser(folder)
    if not folder or not Path(folder).is_dir():
        raise UserError(f"{flag} must be an existing folder with your own configs, got {folder or 'nothing'}")
    return Path(folder).resolve()


def as_flag(folder: str | Path | None) -> list[str]:
    """Return the arguments that name a folder, or an empty list for None."""
    return [] if folder is None else [CONFIG_DIR[0], str(folder)]


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


def split(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the folder that `as_override` finds in the arguments of a command, or None, and the other arguments.

    Raises:
        UserError: if no folder is given after the flag or it does not exist.
    """
    overrides = as_override(arguments)
    folder = named_folder(overrides)
    others = [override for override in overrides if not override.startswith(_KEY)]
    return None if folder is None else Path(folder), others


def open_run(path: Path, folder: Path | None = None) -> tuple[dict[str, Any], Config]:
    """Read a checkpoint and make the modules that its run was trained with importable.

    A checkpoint must not decide on its own which code is run. If it needs modules of a folder of the user's own, the
    folder must be named again, unless the checkpoint is in that folder.

    Args:
        path: file to read, see `mipi_pl.storage.checkpoint_file.read_checkpoint`.
        folder: folder with the modules, as the user named it for this command; replaces the one in the config.

    Returns:
        The content of the checkpoint, and the config of its run.

    Raises:
        UserError: if the file cannot be used, or needs modules of a folder that was not named.
    """
    content, stored = read_checkpoint(path)
    config = cast(Config, stored)
    if folder is not None:
        config["config_dir"] = str(folder.resolve())
        use_modules(config["config_dir"])
        return content, config
    if config.get("config_dir") is None:
        return content, config
    former, needed = str(config["config_dir"]), _not_importable(config)
    if needed and _contains(Path(former), path):
        use_modules(former)
    elif needed:
        raise UserError(
            f"{run_folder.shown(path)} needs {', '.join(needed)} from {former}, outside the folder of the checkpoint; "
            "code is only imported from a folder that you name; if you trust it, add to the command: "
            f"--config-dir {shlex.quote(former)}"
        )
    return content, config


def _not_importable(config: Config) -> list[str]:
    """Return the class names in a config whose packages are neither installed nor built in."""
    targets: list[str] = []

    def collect(node: Any) -> None:
        if isinstance(node, dict):
            targets.append(str(node.get("_target_", "builtins")))
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            collect(child)

    collect(config)
    return sorted({target for target in targets if not _is_importable(target.partition(".")[0])})


def _is_importable(package: str) -> bool:
    try:
        return package in sys.modules or importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _contains(folder: Path, path: Path) -> bool:
    """Return whether a file is in a folder of modules; folders that hold files of many origins do not count."""
    home = Path(os.path.expanduser("~")).resolve()  # unlike Path.home, never fails
    shared = (home, *home.parents, Path(tempfile.gettempdir()).resolve())
    is_own = folder.is_absolute() and folder.resolve() not in shared
    return is_own and folder.resolve() in path.resolve().parents


_used: list[str] = []
"""Folders whose modules were made importable in this process."""


def use_modules(folder: str | None) -> None:
    """Make the modules in the folder importable; installed modules of the same name take precedence.

    Raises:
        UserError: if another folder that was used in this process has a module of the same name, which Python would
            import instead.
    """
    if folder is None or folder in sys.path:
        return
    for other in _used:
        shared = _modules_in(folder) & _modules_in(other) if other in sys.path else set()
        if shared:
            raise UserError(
                f"{other} and {folder} both have a module {min(shared)}, and a process can import only one of them: "
                "rename one, or use the folders in different processes"
            )
    sys.path.append(folder)
    _used.append(folder)


def _modules_in(folder: str) -> set[str]:
    path = Path(folder)
    files = {file.stem for file in path.glob("*.py")} - {"__init__", "conftest", "setup"}  # which no config names
    return files | {file.parent.name for file in path.glob("*/__init__.py")} - {"tests"}
