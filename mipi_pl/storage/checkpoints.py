"""The checkpoint folder of a run, with an index that detects unfinished and damaged checkpoints.

``checkpoints/index.json`` lists the checkpoints, the newest last, each with its checksum and the other files that it
needs. A checkpoint counts once it is in the index. The index is replaced atomically, so a run that is killed while
saving keeps its earlier checkpoints. A missing or damaged index is rebuilt from the checkpoints, which carry their own
checksums. ``last.ckpt`` always refers to the newest checkpoint.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from mipi_pl.storage import index
from mipi_pl.storage.files import DamagedError, link_or_copy, replacing, sha256_of, verify
from mipi_pl.storage.index import CHECKPOINT, Entry

_LAST = "last.ckpt"
_OURS = re.compile(rf"{CHECKPOINT}|episodes_\d{{9,}}_\d{{9,}}\.pt")
"""Names of files that may be removed when no longer needed; all other files in the folder belong to the user."""


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
        return index.read(self._index)

    def known(self) -> list[Entry]:
        """Return the checkpoints in the index, the newest last; if it is damaged, the intact ones in the folder."""
        try:
            return self.entries()
        except DamagedError:
            return index.recovered(self.path)

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
        path, entries = self.path / name, self.known()
        with replacing(path) as unfinished:
            write(unfinished)
        entry = Entry(name, sha256_of(path), frames, dict(needs))
        kept = [*(earlier for earlier in entries if earlier.updates < entry.updates), entry][-keep:]
        self._link_last(path)  # before the index, so that it is never older than the index
        index.write(self._index, kept)
        self._remove_all_but(kept)

    def prepare(self) -> None:
        """Create the folder and read the index, so that their errors come before a checkpoint is begun.

        Raises:
            OSError: if the folder cannot be created or the index cannot be read.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self.known()

    def relink(self, name: str, frames: int) -> bool:
        """Make checkpoint `name` ``last.ckpt`` if the index lists it.

        Args:
            name: name of the file, by the number of updates.
            frames: environment steps collected so far. During warm-up they grow while the number of updates stays 0.

        Returns:
            Whether the index lists it with these frames; if so, it need not be written again.
        """
        listed = any((entry.file, entry.frames) == (name, frames) for entry in self.known())
        if listed:
            self._link_last(self.path / name)
        return listed

    def forget_after(self, name: str) -> None:
        """Remove checkpoints newer than `name` from the index, because a run resumed from `name` writes them again.

        Raises:
            OSError: if the index cannot be written.
        """
        entries, sha256 = self.known(), sha256_of(self.path / name)
        if (name, sha256) not in [(entry.file, entry.sha256) for entry in entries]:  # `newest_whole` rebuilt the index
            entries = index.recovered(self.path)
        (place,) = (i for i, entry in enumerate(entries) if entry.file == name)
        index.write(self._index, entries[: place + 1])

    def _link_last(self, path: Path) -> None:
        fresh = self.path / ".last.ckpt.unfinished"
        fresh.unlink(missing_ok=True)
        link_or_copy(path, fresh)
        os.replace(fresh, self.path / _LAST)

    def of_results(self) -> list[Path]:
        """Return the checkpoints that results describe: the newest one, and the best by each metric."""
        return [path for path in (self.path / _LAST, *sorted(self.path.glob("best*.ckpt"))) if path.is_file()]

    def _remove_all_but(self, kept: Sequence[Entry]) -> None:
        needed = {self.path / name for entry in kept for name in (entry.file, *entry.needs)}
        for path in (*self.path.glob("*.ckpt"), *self.path.glob("replay/**/*.pt")):
            if _OURS.fullmatch(path.name) and path not in needed:
                path.unlink(missing_ok=True)

    def newest_whole(self, say: Callable[[str], None]) -> Path | None:
        """Return the newest checkpoint whose checksum and needed files are correct; None if there are no checkpoints.

        If the index is missing or damaged, or lists no such checkpoint, the index is rebuilt from the checkpoints in
        the folder, which carry their own checksums. `forget_after` writes it.

        Args:
            say: receives a message for each damaged checkpoint and for a rebuilt index.

        Raises:
            DamagedError: if all checkpoints are damaged, or the index is and cannot be rebuilt.
        """
        try:
            listed, problem = self.entries(), None
        except DamagedError as error:
            listed, problem = [], str(error)
        checkpoint = self._newest_whole_of(listed, say)
        if checkpoint is not None:
            return checkpoint
        if listed:
            problem = f"all checkpoints in {self.path} are damaged"
        checkpoint = self._newest_whole_of(index.recovered(self.path), say)
        if checkpoint is not None:
            say(f"{problem or f'{self._index} is missing'}; the index was rebuilt from the intact checkpoints")
        elif problem is not None:
            raise DamagedError(problem)
        return checkpoint

    def _newest_whole_of(self, entries: Iterable[Entry], say: Callable[[str], None]) -> Path | None:
        for entry in reversed(list(entries)):
            try:
                for name, sha256 in {entry.file: entry.sha256, **entry.needs}.items():
                    verify(self.path / name, sha256)
            except DamagedError as error:
                say(f"checkpoint {entry.file} cannot be used: {error}")
            else:
                return self.path / entry.file
        return None
