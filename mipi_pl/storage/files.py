"""Files that are whole or not there at all, and that are what was written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import torch


class DamagedError(ValueError):
    """A file is missing or is not what was written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to, which takes the place of `path` at the end: whoever is killed leaves the old file or the new.

    Raises:
        OSError: what the writer meets; the old file stays and the unfinished one goes.
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


def unused(path: Path) -> Path:
    """The path itself, or where a file has it, the name with the first number that is free: ``name-2.end``."""
    number, candidate = 1, path
    while candidate.exists():
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate


@contextmanager
def appending(path: Path) -> Iterator[TextIO]:
    """The end of a text file, or a new one, to write to.

    Raises:
        OSError: what the writer meets; the file is as it was before.
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
    """Indented; numbers that JSON does not know are refused."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def save_whole(path: Path, content: object) -> None:
    """`torch.save`, all or nothing.

    Raises:
        OSError: if it cannot be written.
    """
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        torch.save(content, file)


def sha256_of(path: Path) -> str:
    """Of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def verify(path: Path, sha256: str) -> None:
    """Compare a file with its checksum.

    Raises:
        DamagedError: if it is missing or differs.
    """
    if not path.is_file():
        raise DamagedError(f"{path} is missing")
    if sha256_of(path) != sha256:
        raise DamagedError(f"{path} is damaged: it is not what was written")
