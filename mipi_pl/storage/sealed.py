"""PyTorch files that carry their own checksum: a comment at the end of the zip archive that `torch.save` writes.

The comment is part of the zip format, so `torch.load` and other programs read the file as before. Files without it,
from versions before 0.2.0, are checked with the CRC-32 that the archive holds for each of its entries, which
`torch.load` does not check.
"""

from __future__ import annotations

import errno
import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from mipi_pl.storage.files import DamagedError, replacing

RECORD = "mipi"
"""Key of a checkpoint that holds the config and provenance of its run."""

_BLOCK = 1 << 20
"""Number of bytes read at once."""
_MARK = b"mipi sha256 "
_LENGTH = len(_MARK) + 64
_LENGTH_FIELD = _LENGTH.to_bytes(2, "little")
"""The last two bytes of an archive give the length of its comment."""


class _Output:
    """A file that remembers the error of a failed write, which PyTorch's zip writer replaces by a RuntimeError."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def write(path: Path, content: object) -> None:
    """Write a file with `torch.save` and add its checksum.

    The file is written in place; to replace a file atomically, use `save`.

    Raises:
        OSError: if the file cannot be written.
    """
    with path.open("wb") as file:
        output = _Output(file)
        try:
            torch.save(content, cast(BinaryIO, output))
        except RuntimeError as error:
            if output.error is not None:
                raise output.error from error
            if is_write_error(error):
                raise OSError(f"PyTorch could not write the file: {str(error).splitlines()[0]}") from error
            raise
    with path.open("rb+") as file:
        file.seek(-len(_LENGTH_FIELD), os.SEEK_END)
        file.write(_LENGTH_FIELD)
        end = file.tell()
        file.write(_MARK + _digest(file, end).encode())


def is_write_error(error: Exception) -> bool:
    """Return whether a file could not be written: an OSError, or what PyTorch's zip writer raises in place of one."""
    return isinstance(error, OSError) or any(name in str(error) for name in ("inline_container", "PytorchStreamWriter"))


def save(path: Path, content: object) -> None:
    """Write a file with `torch.save` and its checksum, atomically.

    Raises:
        OSError: if the file cannot be written.
    """
    with replacing(path) as unfinished:
        write(unfinished, content)


def load(path: Path) -> Any:
    """Check a file and return its content: tensors, on the processor, and plain values.

    Raises:
        DamagedError: if the file is missing, unreadable or damaged, or holds other types.
    """
    check(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler can fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedError(f"{path} is damaged or not a checkpoint ({reason})") from error


def check(path: Path) -> None:
    """Compare a file with the checksum that it carries; without one, compare its entries with their CRC-32.

    Raises:
        DamagedError: if the file cannot be read, is no zip archive, or a checksum differs.
    """
    try:
        if is_sealed(path):
            with path.open("rb") as file:
                end = file.seek(-_LENGTH, os.SEEK_END)
                whole = file.read() == _MARK + _digest(file, end).encode()
        else:
            with zipfile.ZipFile(path) as archive:
                whole = archive.testzip() is None
    except Exception as error:  # zipfile raises many kinds of exceptions for damaged archives, and OSError with EINVAL
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise DamagedError(f"{path} cannot be read ({error.strerror or error})") from error
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DamagedError(f"{path} is damaged or not a checkpoint ({reason})") from error
    if not whole:
        raise DamagedError(f"{path} is damaged or not a checkpoint (its checksum differs from the one it carries)")


def is_sealed(path: Path) -> bool:
    """Return whether a file ends with a checksum."""
    if path.stat().st_size < _LENGTH + len(_LENGTH_FIELD):
        return False
    with path.open("rb") as file:
        file.seek(-_LENGTH - len(_LENGTH_FIELD), os.SEEK_END)
        return file.read(len(_LENGTH_FIELD) + len(_MARK)) == _LENGTH_FIELD + _MARK


def _digest(file: BinaryIO, end: int) -> str:
    """Return the SHA-256 checksum of the first `end` bytes; afterwards the file is positioned at `end`."""
    digest = hashlib.sha256()
    file.seek(0)
    while end > 0 and (block := file.read(min(end, _BLOCK))):
        digest.update(block)
        end -= len(block)
    return digest.hexdigest()
