"""Atomic writing of files, and checksums that detect damaged ones."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO


class DamagedError(ValueError):
    """A file is missing or cannot be read, or its content, checksum or format is wrong."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a file atomically: the block writes to a temporary path, which is renamed to `path` at the end.

    A process that is killed leaves either the old file or the complete new one.

    Args:
        path: file to replace; its folder is created if missing.

    Yields:
        The temporary path.

    Raises:
        OSError: if writing fails. The old file stays, and the temporary one is removed, as after any other exception.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def with_csv_ends(text: str) -> str:
    """Return the text of a CSV with the line ends of the csv module, which ``read_text`` replaces."""
    return text.replace("\r\n", "\n").replace("\n", "\r\n")


def unused(path: Path) -> Path:
    """Return `path` if it does not exist, else the first free numbered name, such as ``name-2.end``."""
    number, candidate = 1, path
    while candidate.exists():
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate


@contextmanager
def appending(path: Path) -> Iterator[TextIO]:
    """Append to a text file, which is created if missing; undo the change if the block fails.

    Yields:
        The file, open for writing at its end.

    Raises:
        OSError: if writing fails. The file is restored to its previous size, as after any other exception.
    """
    size = path.stat().st_size if path.exists() else None
    try:
        with path.open("a", newline="", encoding="utf-8") as file:
            yield file
    except BaseException:
        with suppress(OSError):
            if size is None:
                path.unlink(missing_ok=True)
            else:
                os.truncate(path, size)
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write indented JSON atomically.

    Raises:
        OSError: if the file cannot be written.
        ValueError: if a number is NaN or infinite, which JSON does not allow.
    """
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links.

    Raises:
        OSError: if `target` exists or cannot be written.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def is_file(path: Path) -> bool:
    """Return whether there is a file; False, too, for a name that is too long for one.

    Raises:
        OSError: if a folder on the way may not be entered.
    """
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def sha256_of(path: Path) -> str:
    """Return the SHA-256 checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, sha256: str) -> None:
    """Compare a file with its checksum.

    Raises:
        DamagedError: if the file is missing or cannot be read, or the checksum differs.
    """
    try:
        if not path.is_file():
            raise DamagedError(f"{path} is missing")
        present = sha256_of(path)
    except OSError as error:
        raise DamagedError(f"{path} cannot be read ({error.strerror or error})") from error
    if present != sha256:
        raise DamagedError(f"{path} is damaged: its checksum differs from the recorded one")
