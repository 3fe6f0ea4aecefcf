"""The replay on disk: finished episodes in files that are written once and never modified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.algorithms.batch import observed_steps
from mipi_pl.datamodules.episodes import empty_episodes
from mipi_pl.spec import EntitySpec
from mipi_pl.storage import sealed
from mipi_pl.storage.files import DamagedError, sha256_of, verify

Segment = dict[str, Any]
"""Entry of a checkpoint for one file: ``file``, ``sha256``, and its episodes from ``first`` to before ``end``."""


class EpisodeJournal:
    """Numbered episodes in consecutive segments, one file each; a checkpoint lists the segments that it needs.

    Each checkpoint writes only the episodes since the previous one, so no episode is written twice.

    Args:
        folder: folder of the files; created with the first file.
        capacity: number of episodes that the replay keeps; older ones are not needed.

    Attributes:
        segments: the segments that hold the last `capacity` episodes.
    """

    def __init__(self, folder: Path, capacity: int) -> None:
        self.folder, self.capacity = folder, capacity
        self.segments: list[Segment] = []

    @property
    def end(self) -> int:
        """Number of the first episode that has not been written yet."""
        return int(self.segments[-1]["end"]) if self.segments else 0

    def append(self, first: int, episodes: TensorDictBase) -> None:
        """Write episodes numbered from `first` into a new file, atomically.

        Raises:
            OSError: if the file cannot be written; the journal is then unchanged.
        """
        end = first + len(episodes)
        path = self.folder / f"episodes_{first:09d}_{end:09d}.pt"
        sealed.save(path, pack(episodes))
        self.segments.append({"file": path.name, "sha256": sha256_of(path), "first": first, "end": end})
        self.segments = [s for s in self.segments if s["end"] > end - self.capacity]

    def read(self, spec: EntitySpec, numbers: range) -> TensorDict:
        """Return the episodes with these numbers, padded, in order.

        Raises:
            DamagedError: if a file is missing or damaged, or no file contains one of the episodes.
        """
        episodes = empty_episodes(len(numbers), spec)
        missing = set(numbers)
        for segment in self.segments:
            part = range(max(segment["first"], numbers.start), min(segment["end"], numbers.stop))
            if part:
                rows = slice(part.start - segment["first"], part.stop - segment["first"])
                place = slice(part.start - numbers.start, part.stop - numbers.start)
                episodes[place] = unpack(self._load(segment), spec)[rows]
                missing -= set(part)
        if missing:
            raise DamagedError(f"{self.folder}: no file contains episode {min(missing)}")
        return episodes

    def _load(self, segment: Segment) -> dict[str, Tensor]:
        path = self.folder / segment["file"]
        verify(path, segment["sha256"])
        content: dict[str, Tensor] = torch.load(path, weights_only=True)
        return content


def pack(episodes: TensorDictBase) -> dict[str, Tensor]:
    """Return episodes as tensors without padding: ``lengths`` [n], and for each key the concatenated observed steps."""
    observed = observed_steps(episodes.get(keys.VALID))
    flat = episodes.flatten_keys(".")
    packed = {str(k): v[observed] if v.dim() > 1 else v.clone() for k, v in flat.items()}
    return {"lengths": observed.sum(dim=1), **packed}


def unpack(packed: dict[str, Tensor], spec: EntitySpec) -> TensorDict:
    """Inverse of `pack`."""
    lengths = packed["lengths"]
    padded = empty_episodes(len(lengths), spec).flatten_keys(".")
    observed = torch.arange(spec.max_steps + 1) < lengths.unsqueeze(1)
    for key, tensor in padded.items():
        tensor[observed if tensor.dim() > 1 else ...] = packed[str(key)]
    return padded.unflatten_keys(".")
