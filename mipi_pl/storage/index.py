"""The index of a checkpoint folder: its file, and its recovery from the checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from mipi_pl.storage import sealed
from mipi_pl.storage.files import DamagedError, replacing, sha256_of

FORMAT = 1
"""Format version of the checkpoints; increased when older ones can no longer be resumed."""

CHECKPOINT = r"update_([0-9]{9,})\.ckpt"
"""Names of the checkpoints that the index may list, with the number of updates."""


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError("the file must be in the checkpoint folder")
    return name


_STRICT = ConfigDict(strict=True, extra="forbid", revalidate_instances="always")
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Inside = Annotated[str, AfterValidator(_inside)]


@dataclass
class Entry:
    """A checkpoint in the index.

    Attributes:
        file: name of the file.
        sha256: checksum of the file.
        frames: environment steps collected so far.
        needs: checksums of the other files it needs, by name relative to the folder.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    file: Annotated[str, Field(pattern=f"^{CHECKPOINT}$")]
    sha256: _Sha256
    frames: Annotated[int, Field(ge=0)]
    needs: dict[_Inside, _Sha256] = field(default_factory=dict)

    @property
    def updates(self) -> int:
        """Number of updates, from the name of the file."""
        return int(self.file[len("update_") : -len(".ckpt")])


@dataclass
class _Content:
    """Content of the index file; the newest checkpoint is the last."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    format: int
    checkpoints: list[Entry]


_ENTRY, _CONTENT = TypeAdapter(Entry), TypeAdapter(_Content)


def read(path: Path) -> list[Entry]:
    """Return the entries of an index file, the newest last; empty if the file does not exist.

    Raises:
        DamagedError: if the file cannot be read or has another format.
    """
    try:
        content = _CONTENT.validate_json(path.read_bytes())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DamagedError(f"{path} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise DamagedError(f"{path} is damaged ({f'{place}: ' if place else ''}{problem['msg']})") from error
    if content.format != FORMAT:
        raise DamagedError(f"{path} has format {content.format}, this version can only resume format {FORMAT}")
    updates = [entry.updates for entry in content.checkpoints]
    if updates != sorted(set(updates)):
        raise DamagedError(f"{path} is damaged (its checkpoints must be in order, each of them once)")
    return content.checkpoints


def require_in_place(path: Path, updates: int) -> None:
    """Compare the number of updates in a checkpoint with its name or, for ``last.ckpt``, with the index next to it.

    Args:
        path: file of the checkpoint.
        updates: number of updates that the checkpoint records.

    Raises:
        DamagedError: if the file is another checkpoint of a run than its name says.
    """
    named = re.fullmatch(CHECKPOINT, path.name)
    if named and int(named[1]) != updates:
        raise DamagedError(f"{path} is another checkpoint than its name says: it was written after update {updates}")
    if path.name != "last.ckpt":
        return
    try:
        newest = read(path.parent / "index.json")[-1:]
    except DamagedError:
        return
    if newest and updates < newest[0].updates:
        raise DamagedError(
            f"{path} is not the newest checkpoint of its run: it was written after update {updates}; "
            f"name the one that you mean, such as {newest[0].file}"
        )


def write(path: Path, entries: Sequence[Entry]) -> None:
    """Replace an index file atomically.

    Raises:
        OSError: if the file cannot be written.
    """
    content = _CONTENT.dump_json(_Content(FORMAT, list(entries)), indent=2)
    with replacing(path) as unfinished:
        unfinished.write_bytes(content + b"\n")


def recovered(folder: Path) -> list[Entry]:
    """Return entries for the intact checkpoints in a folder, the newest last, without its index.

    Checkpoints that do not say which files they need, from versions before 0.2.0, are left out.
    """
    return sorted(_found(folder), key=lambda entry: entry.updates)


def _found(folder: Path) -> Iterator[Entry]:
    for path in folder.glob("update_*.ckpt"):
        try:
            record = sealed.load(path)[sealed.RECORD]
            entry = Entry(path.name, sha256_of(path), record["frames"], record["needs"])
            _ENTRY.validate_python(entry)
            if (entry.updates, FORMAT) == (record["updates"], record["format"]):
                yield entry
        except (OSError, ValueError, TypeError, KeyError):  # a damaged or another file; DamagedError is a ValueError
            continue
