"""The checkpoints of a run: which there are, whether they are whole, and which one a run goes on from.

``checkpoints/index.json`` lists them, the newest last, each with its checksum and the other files that it needs. A
checkpoint counts once it is in the index, which is replaced at once: a run that is killed while it saves leaves the
checkpoints before. ``last.ckpt`` is the newest under a name that does not change.
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
"""What may be removed when it is no longer needed; anything else in the folder is the user's."""

FORMAT = 1
"""Of what is written; raised when older checkpoints can no longer be resumed."""


@dataclass
class Entry:
    """A checkpoint.

    Attributes:
        file: its name.
        sha256: its checksum.
        frames: environment steps collected.
        needs: names of the other files it needs, relative to the folder, and their checksums.
    """

    file: str
    sha256: str
    frames: int
    needs: dict[str, str] = field(default_factory=dict)


class CheckpointFolder:
    """The folder ``checkpoints`` of a run.

    Args:
        run: the run folder.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / "checkpoints"
        self._index = self.path / "index.json"

    def entries(self) -> list[Entry]:
        """Those of the index, the newest last; none if there is no index.

        Raises:
            DamagedError: if the index cannot be read.
        """
        if not self._index.is_file():
            return []
        try:
            content = json.loads(self._index.read_text(encoding="utf-8"))
            found = [Entry(**entry) for entry in content["checkpoints"]]
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedError(f"{self._index} is damaged ({error})") from error
        if content["format"] != FORMAT:
            raise DamagedError(f"{self._index} has format {content['format']}, this version resumes format {FORMAT}")
        return found

    def add(self, name: str, frames: int, needs: Mapping[str, str], write: Callable[[Path], object], keep: int) -> None:
        """Write a checkpoint, list it, and remove what is no longer needed.

        Args:
            name: of the file.
            frames: environment steps collected.
            needs: see `Entry`.
            write: writes the content to the path it is given.
            keep: checkpoints to keep.

        Raises:
            OSError: if it cannot be written; those before stay.
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
        """Whether it is listed and so need not be written again; then it is ``last.ckpt``."""
        listed = any(entry.file == name for entry in self.entries())
        if listed:
            self._link_last(self.path / name)
        return listed

    def forget_after(self, name: str) -> None:
        """Take those that are newer than `name` out of the index: the run goes on from there and makes them anew."""
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
        except OSError:  # a file system without links
            shutil.copyfile(path, fresh)
        os.replace(fresh, self.path / "last.ckpt")

    def _remove_all_but(self, kept: Sequence[Entry]) -> None:
        needed = {self.path / name for entry in kept for name in (entry.file, *entry.needs)}
        for found in (*self.path.glob("*.ckpt"), *self.path.glob("replay/**/*.pt")):
            if _OURS.fullmatch(found.name) and found not in needed:
                found.unlink(missing_ok=True)

    def newest_whole(self, say: Callable[[str], None]) -> Path | None:
        """The newest checkpoint that is what was written, with all it needs; each damaged one is named.

        Raises:
            DamagedError: if there are checkpoints and none is whole.
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
            raise DamagedError(f"no checkpoint in {self.path} is whole")
        return None
