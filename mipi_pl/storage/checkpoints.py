"""The checkpoint folder of a run, with an index that detects unfinished and damaged checkpoints.

``checkpoints/index.json`` lists the checkpoints, the newest last, each with its checksum and the other files that it
needs. A checkpoint is valid only if it is in the index. The index is replaced atomically, so a run that is killed while
saving keeps its earlier checkpoints. ``last.ckpt`` always refers to the newest checkpoint.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mipi_pl.storage.files import DamagedError, replacing, sha256_of, verify

_OURS = re.compile(r"update_\d{9,}\.ckpt|episodes_\d{9,}_\d{9,}\.pt")
"""Names of files that may be removed when no longer needed; all other files in the folder belong to the user."""

FORMAT = 1
"""Format version of the checkpoints; increased when older ones can no longer be resumed."""


@dataclass
class Entry:
    """A checkpoint in the index.

    Attributes:
        file: name of the file.
        sha256: checksum of the file.
        frames: environment steps collected so far.
        needs: checksums of the other files it needs, by name relative to the folder.
    """

    file: str
    sha256: str
    frames: int
    needs: dict[str, str] = field(default_factory=dict)


class CheckpointFolder:
    """The ``checkpoints`` folder of a run.

    Args:
        run: the run folder.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / "checkpoints"
        self._index = self.path / "index.json"

    def entries(self) -> list[Entry]:
        """Return the checkpoints in the index, the newest last; empty without an index.

        Raises:
            DamagedError: if the index cannot be read or has another format.
        """
        if not self._index.is_file():
            return []
        try:
            content = json.loads(self._index.read_text(encoding="utf-8"))
            entries = [Entry(**entry) for entry in content["checkpoints"]]
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedError(f"{self._index} is damaged ({error})") from error
        if content["format"] != FORMAT:
            raise DamagedError(
                f"{self._index} has format {content['format']}, this version can only resume format {FORMAT}"
            )
        return entries

    def add(self, name: str, frames: int, needs: Mapping[str, str], write: Callable[[Path], object], keep: int) -> None:
        """Write a checkpoint, add it to the index, and remove files that are no longer needed.

        Args:
            name: name of the file.
            frames: environment steps collected so far.
            needs: other files it needs, see `Entry`.
            write: function that writes the content to a given path.
            keep: number of newest checkpoints to keep.

        Raises:
            OSError: if the checkpoint cannot be written; the earlier ones are kept.
        """
        path, entries = self.path / name, self.entries()
        with replacing(path) as unfinished:
            write(unfinished)
        entry = Entry(name, sha256_of(path), frames, dict(needs))
        kept = [*entries, entry][-keep:]
        self._write_index(kept)
        self._link_last(path)
        self._remove_all_but(kept)

    def relink(self, name: str) -> bool:
        """Make checkpoint `name` ``last.ckpt`` if the index lists it.

        Returns:
            Whether the index lists it; if so, it need not be written again.
        """
        listed = any(entry.file == name for entry in self.entries())
        if listed:
            self._link_last(self.path / name)
        return listed

    def forget_after(self, name: str) -> None:
        """Remove checkpoints newer than `name` from the index, because a run resumed from `name` writes them again."""
        entries = self.entries()
        (place,) = (i for i, entry in enumerate(entries) if entry.file == name)
        self._write_index(entries[: place + 1])

    def _write_index(self, entries: Sequence[Entry]) -> None:
        content = {"format": FORMAT, "checkpoints": [asdict(entry) for entry in entries]}
        with replacing(self._index) as unfinished:
            unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def _link_last(self, path: Path) -> None:
        fresh = self.path / ".last.ckpt.unfinished"
        fresh.unlink(missing_ok=True)
        try:
            os.link(path, fresh)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, fresh)
        os.replace(fresh, self.path / "last.ckpt")

    def _remove_all_but(self, kept: Sequence[Entry]) -> None:
        needed = {self.path / name for entry in kept for name in (entry.file, *entry.needs)}
        for path in (*self.path.glob("*.ckpt"), *self.path.glob("replay/**/*.pt")):
            if _OURS.fullmatch(path.name) and path not in needed:
                path.unlink(missing_ok=True)

    def newest_whole(self, say: Callable[[str], None]) -> Path | None:
        """Return the newest checkpoint whose checksum and needed files are correct; None if the index is empty.

        Args:
            say: receives a message for each damaged checkpoint.

        Raises:
            DamagedError: if all checkpoints in the index are damaged.
        """
        entries = self.entries()
        for entry in reversed(entries):
            try:
                for name, sha256 in {entry.file: entry.sha256, **entry.needs}.items():
                    verify(self.path / name, sha256)
            except DamagedError as error:
                say(f"checkpoint {entry.file} cannot be used: {error}")
            else:
                return self.path / entry.file
        if entries:
            raise DamagedError(f"all checkpoints in {self.path} are damaged")
        return None
