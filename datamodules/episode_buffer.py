"""Storage of the replay: the last episodes, in memory or in temporary files."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import LazyMemmapStorage, LazyTensorStorage, TensorDictReplayBuffer

from mipi_pl import distributed
from mipi_pl.datamodules.trimming import trim
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.memory import require_disk, require_memory

_REFILL = 256
"""Number of episodes padded at once when a run is resumed."""


class EpisodeBuffer:
    """The last episodes in the order of collection: number n, counted from 0, is at index n modulo the capacity.

    Args:
        capacity: episodes kept; the oldest are replaced first.
        storage: ``ram``, or ``memmap`` for temporary files on disk, which `close` removes.
        storage_dir: folder in which ``memmap`` creates its own subfolder; None is the system's folder for temporary
            files.

    Raises:
        ValueError: if `storage` is unknown.
        OSError: if no folder can be created in `storage_dir`.
    """

    def __init__(self, capacity: int, storage: str, storage_dir: str | None) -> None:
        if storage not in ("ram", "memmap"):
            raise ValueError(f"datamodule.storage must be 'ram' or 'memmap', got {storage!r}")
        self.capacity = capacity
        self._in_memory = storage == "ram"
        self._parent = os.path.expanduser(storage_dir) if storage_dir else tempfile.gettempdir()
        self._remove_files: weakref.finalize[[str], EpisodeBuffer] | None = None
        self._buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(capacity) if self._in_memory else self._files())

    def _files(self) -> LazyMemmapStorage:
        Path(self._parent).mkdir(parents=True, exist_ok=True)
        # A new folder, because other runs, or this run before it was resumed, may have left files there.
        folder = tempfile.mkdtemp(prefix="mipi-replay-", dir=self._parent)
        self._remove_files = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return LazyMemmapStorage(self.capacity, scratch_dir=folder)

    def require_room(self, spec: EntitySpec, num_envs: int) -> None:
        """Check that the replay and the open episodes fit into memory, or the replay onto the disk of its files.

        Args:
            spec: sizes of the environment.
            num_envs: B, number of open episodes.

        Raises:
            ValueError: if they do not.
        """
        size = (spec.max_steps + 1) * spec.step_bytes
        in_memory = self.capacity if self._in_memory else 0
        require_memory(
            f"a replay of {in_memory:,} episodes and {num_envs:,} open ones, of up to {spec.max_steps:,} steps each,",
            (in_memory + num_envs) * size,
            "lower datamodule.capacity, datamodule.num_envs or env.episode_limit"
            + (", or set datamodule.storage=memmap" if self._in_memory else ""),
            distributed.size_here(),
        )
        if not self._in_memory:  # the files are sparse, so that a disk that is too small would end the run when full
            require_disk(
                f"a replay of {self.capacity:,} episodes of up to {spec.max_steps:,} steps each",
                self.capacity * size,
                self._parent,
                "lower datamodule.capacity or env.episode_limit, or set datamodule.storage_dir to a larger disk",
                distributed.size_here(),
            )

    def __len__(self) -> int:
        return len(self._buffer)

    def __getitem__(self, index: slice | torch.Tensor) -> TensorDictBase:
        """Return the episodes at some indices of the buffer."""
        episodes: TensorDictBase = self._buffer[index].exclude("index")
        return episodes

    def numbered(self, numbers: range) -> TensorDictBase:
        """Return the episodes with consecutive numbers."""
        return self[torch.arange(numbers.start, numbers.stop) % self.capacity]

    def extend(self, episodes: TensorDict) -> None:
        """Store further episodes [N] in the layout of `mipi_pl.datamodules.episodes.empty_episodes`."""
        # An index that occurs twice in one write would mix two episodes, whose fields several threads write.
        for first in range(0, len(episodes), self.capacity):
            self._buffer.extend(episodes[first : first + self.capacity])

    def sample(self, count: int, n_agents: int, generator: torch.Generator) -> TensorDict:
        """Draw `count` different episodes uniformly, independently of earlier draws, and trim them.

        TorchRL's samplers draw with replacement, or go through the whole buffer before they repeat an episode.

        Args:
            count: N, number of episodes.
            n_agents: A, number of agent slots.
            generator: random generator of the draws.

        Raises:
            ValueError: if the buffer has fewer than `count` episodes.
        """
        if count > len(self):
            raise ValueError(
                f"a batch needs {count} different episodes and the replay has {len(self)}; collect more episodes first"
            )
        rows = torch.randperm(len(self), generator=generator)[:count]
        return trim(self._buffer.storage[:], n_agents, rows)

    def refill(self, collected: int, read: Callable[[range, int], Iterable[TensorDict]]) -> None:
        """Restore the last episodes to their indices.

        Args:
            collected: number of episodes collected so far.
            read: yields the episodes with consecutive numbers in order, up to a number of them together.
        """
        kept = range(max(0, collected - self.capacity), collected)
        turn = next((n for n in kept if n % self.capacity == 0), kept.start)
        for numbers in (range(turn, kept.stop), range(kept.start, turn)):
            for episodes in read(numbers, _REFILL):
                self.extend(episodes)
        writer = self._buffer.writer
        writer.load_state_dict({**writer.state_dict(), "_cursor": collected % self.capacity})

    def close(self) -> None:
        """Remove the temporary files."""
        if self._remove_files is not None:
            self._remove_files()
