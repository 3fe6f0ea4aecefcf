"""The replay on disk: finished episodes in files that are written once and never changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from datamodules.episodes import empty_episodes
from mipi_pl import spec as keys
from mipi_pl.algorithms.batch import observed_steps
from mipi_pl.spec import EntitySpec
from mipi_pl.storage.files import DamagedError, save_whole, sha256_of, verify

Segment = dict[str, Any]
"""Plain, for the checkpoint: ``file``, ``sha256`` and the numbers ``first`` and ``end`` of its episodes."""


class EpisodeJournal:
    """Episodes by number, in segments that follow one another; a checkpoint names those that it needs.

    Each checkpoint writes the episodes since the last one, so nothing is written twice, whatever the capacity.

    Args:
        folder: of the files; made when the first is written.
        capacity: episodes that the replay keeps: older ones are not needed.

    Attributes:
        segments: those that hold the last `capacity` episodes.
    """

    def __init__(self, folder: Path, capacity: int) -> None:
        self.folder, self.capacity = folder, capacity
        self.segments: list[Segment] = []

    @property
    def end(self) -> int:
        """Number of the first episode that is not written yet."""
        return int(self.segments[-1]["end"]) if self.segments else 0

    def append(self, first: int, episodes: TensorDictBase) -> None:
        """Write episodes that begin with number `first`; the file is whole or not there.

        Raises:
            OSError: if it cannot be written; the journal is as before.
        """
        end = first + len(episodes)
        path = self.folder / f"episodes_{first:09d}_{end:09d}.pt"
        save_whole(path, pack(episodes))
        self.segments.append({"file": path.name, "sha256": sha256_of(path), "first": first, "end": end})
        self.segments = [s for s in self.segments if s["end"] > end - self.capacity]

    def read(self, spec: EntitySpec, numbers: range) -> TensorDict:
        """These episodes, padded, in order.

        Raises:
            DamagedError: if a file is missing or damaged, or an episode in none of them.
        """
        found = empty_episodes(len(numbers), spec)
        missing = set(numbers)
        for segment in self.segments:
            part = range(max(segment["first"], numbers.start), min(segment["end"], numbers.stop))
            if part:
                rows = slice(part.start - segment["first"], part.stop - segment["first"])
                place = slice(part.start - numbers.start, part.stop - numbers.start)
                found[place] = unpack(self._load(segment), spec)[rows]
                missing -= set(part)
        if missing:
            raise DamagedError(f"{self.folder}: episode {min(missing)} is in no file")
        return found

    def _load(self, segment: Segment) -> dict[str, Tensor]:
        path = self.folder / segment["file"]
        verify(path, segment["sha256"])
        content: dict[str, Tensor] = torch.load(path, weights_only=True)
        return content


def pack(episodes: TensorDictBase) -> dict[str, Tensor]:
    """Plain tensors without the padding: ``lengths`` [n], and for each key the observed steps one after the other."""
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
