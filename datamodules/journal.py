"""The replay on disk: finished episodes in files that are written once and never modified."""

from __future__ import annotations

from collections.abc import Iterator
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

    def read(self, spec: EntitySpec, numbers: range, at_once: int) -> Iterator[TensorDict]:
        """Yield the episodes with these numbers, padded, in order, up to `at_once` together; each file is read once.

        Raises:
            DamagedError: if a file is missing or damaged, or no file contains one of the episodes.
        """
        first = numbers.start
        for segment in self.segments:
            part = range(max(segment["first"], first), min(segment["end"], numbers.stop))
            if part and part.start == first:
                packed = self._load(segment)
                for start in part[::at_once]:
                    rows = range(start - segment["first"], min(start + at_once, part.stop) - segment["first"])
                    yield unpack(packed, spec, rows)
                first = part.stop
        if first < numbers.stop:
            raise DamagedError(f"{self.folder}: no file contains episode {first}")

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


def unpack(packed: dict[str, Tensor], spec: EntitySpec, rows: range | None = None) -> TensorDict:
    """Inverse of `pack`, for some of the episodes; None for all."""
    lengths = packed["lengths"]
    rows = range(len(lengths)) if rows is None else rows
    steps = slice(int(lengths[: rows.start].sum()), int(lengths[: rows.stop].sum()))
    lengths = lengths[rows.start : rows.stop]
    padded = empty_episodes(len(lengths), spec).flatten_keys(".")
    observed = torch.arange(spec.max_steps + 1) < lengths.unsqueeze(1)
    for key, tensor in padded.items():
        if tensor.dim() > 1:
            tensor[observed] = packed[str(key)][steps]
        else:
            tensor[...] = packed[str(key)][rows.start : rows.stop]
    return padded.unflatten_keys(".")
