"""The replay datamodule: TorchRL collector, whole episodes, TensorDict replay buffer, a fixed update-to-data ratio."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import LazyMemmapStorage, LazyTensorStorage, TensorDictReplayBuffer

from datamodules.background import Background
from datamodules.collection import CollectionDataModule
from datamodules.episodes import EpisodeAssembler, sample_trimmed, summarize
from datamodules.journal import EpisodeJournal
from datamodules.sources import StepSource
from mipi_pl import distributed
from mipi_pl.actor import Actor
from mipi_pl.envs.base import EntityEnv
from mipi_pl.utils.checks import require

REPLAY_FOLDER = "checkpoints/replay"
"""Where the episodes are, below the run folder."""

Played = list[tuple[int, TensorDict | None]]
"""For each collection, the number of frames and the episodes that ended."""

_REFILL = 256
"""Episodes that are read at once when a run is resumed."""


class ReplayDataModule(CollectionDataModule):
    """Collects with the current policy, stores whole episodes, and yields trimmed batches of them.

    Args:
        make_env: factory of the training environments; takes num_envs and seed.
        num_envs: B, environments stepped at once.
        seed: of environments, exploration and sampling.
        capacity: episodes kept; the oldest go first.
        batch_size: N, episodes in a batch.
        updates_per_episode: batches yielded per collected episode.
        warmup_episodes: episodes collected before the first batch; at least `batch_size`.
        steps_per_collection: environment steps between two looks for finished episodes.
        epsilon_start: uniform exploration mixed into the behaviour policy at first.
        epsilon_end: and after `epsilon_frames`.
        epsilon_frames: frames of linear annealing.
        epsilon_hold: mean number of steps for which an agent that explores keeps its action.
        storage: ``ram`` or ``memmap`` (on disk, until training ends; what `mipi resume` needs is in the run folder).
        storage_dir: where ``memmap`` makes a folder of its own; None is the system's place for temporary files.
        updates_per_epoch: length of a Lightning epoch.
        overlap: collect for the next batch while an update runs, with the policy from before that update.
        collector: ``inline`` steps the environments in this process; ``processes`` and ``ray`` share them out to
            workers, for slow worlds.
        workers: how many, for ``processes`` and ``ray``; a divisor of `num_envs`.

    Attributes:
        env: the training environments; with workers a single one that is never played, for its sizes.
        exact_resume: whether a checkpoint holds all that the next batches depend on.
        at_rest: called before and while a batch is made, when all that belongs to the one before is done: the moments
            at which a checkpoint is exact.
        frames: environment steps collected, each environment counted, over all processes.
        episodes: episodes finished and stored, over all processes.

    Raises:
        ValueError: for values out of range, or `overlap` in several processes, which collect in step.
        OSError: if no folder can be made in `storage_dir`.
    """

    on_policy = False
    _assembler: EpisodeAssembler

    def __init__(
        self,
        make_env: Callable[..., EntityEnv],
        num_envs: int = 8,
        seed: int = 0,
        capacity: int = 5000,
        batch_size: int = 32,
        updates_per_episode: float = 1.0,
        warmup_episodes: int = 32,
        steps_per_collection: int = 8,
        epsilon_start: float = 1.0,
        epsilon_end: float = 0.05,
        epsilon_frames: int = 500_000,
        epsilon_hold: float = 1.0,
        storage: str = "ram",
        storage_dir: str | None = None,
        updates_per_epoch: int = 100,
        overlap: bool = False,
        collector: str = "inline",
        workers: int = 2,
    ) -> None:
        super().__init__(
            make_env, num_envs, seed, steps_per_collection, updates_per_epoch, collector, workers, own_copy=overlap
        )
        if storage not in ("ram", "memmap"):
            raise ValueError(f"datamodule.storage must be 'ram' or 'memmap', got {storage!r}")
        require("datamodule.batch_size", batch_size, 1)
        for name, share in {"epsilon_start": epsilon_start, "epsilon_end": epsilon_end}.items():
            require(f"datamodule.{name}", share, 0, 1)
        for name, value in {"warmup_episodes": warmup_episodes, "epsilon_frames": epsilon_frames}.items():
            require(f"datamodule.{name}", value, 0)
        if not batch_size <= capacity:
            raise ValueError(f"datamodule.capacity ({capacity}) must hold at least one batch ({batch_size} episodes)")
        require("datamodule.updates_per_episode", updates_per_episode, 0, above=True)
        if overlap and distributed.size() > 1:
            raise ValueError("datamodule.overlap is for a single process; several (trainer.devices) collect in step")
        self._assembler = EpisodeAssembler(num_envs, self.env.entity_spec)
        self._background: Background[Played] | None = Background() if overlap else None
        self.batch_size = batch_size
        self.updates_per_episode = updates_per_episode
        self.warmup_episodes = max(warmup_episodes, batch_size)
        require("datamodule.epsilon_hold", epsilon_hold, 1)
        self.epsilon_hold = epsilon_hold
        self.epsilon_start, self.epsilon_end, self.epsilon_frames = epsilon_start, epsilon_end, epsilon_frames
        self._draws = torch.Generator().manual_seed(seed)
        self._remove_storage: weakref.finalize[[str], ReplayDataModule] | None = None
        self._buffer = TensorDictReplayBuffer(storage=self._make_storage(storage, capacity, storage_dir))
        self._capacity = capacity
        self._journal: EpisodeJournal | None = None

    def _make_storage(self, kind: str, capacity: int, parent: str | None) -> LazyTensorStorage:
        if kind == "ram":
            return LazyTensorStorage(capacity)
        if parent is not None:
            Path(parent).mkdir(parents=True, exist_ok=True)
        # Of its own, so that neither other runs nor the files of this one before it was resumed are in the way.
        folder = tempfile.mkdtemp(prefix="mipi-replay-", dir=parent)
        self._remove_storage = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return LazyMemmapStorage(capacity, scratch_dir=folder)

    def setup(self, stage: str) -> None:
        """Connect the collector to the algorithm that is trained, and the journal to the run folder."""
        if self._journal is None and self.trainer is not None:
            folder = _of_rank(Path(self.trainer.default_root_dir) / REPLAY_FOLDER)
            self._journal = EpisodeJournal(folder, self._capacity)
        super().setup(stage)

    def connect(self, actor: Actor, seed: int = 0) -> None:
        """Collect with `actor` from now on, exploring as this datamodule says."""
        actor.hold = self.epsilon_hold
        super().connect(actor, seed)

    def reseed(self, seed: int) -> None:
        """Of a process among several: battles and draws of its own."""
        super().reseed(seed)
        self._draws.manual_seed(seed)

    def teardown(self, stage: str) -> None:
        """End the thread and the workers and remove the files of ``memmap``, however training ended."""
        if self._background is not None:
            self._background.close()
        super().teardown(stage)
        if self._remove_storage is not None:
            self._remove_storage()

    @property
    def epsilon(self) -> float:
        """Exploration for the frames collected so far."""
        return self._epsilon_at(self.frames)

    def _epsilon_at(self, frames: int) -> float:
        done = min(1.0, frames / self.epsilon_frames) if self.epsilon_frames else 1.0
        return self.epsilon_start + done * (self.epsilon_end - self.epsilon_start)

    def collect(self) -> None:
        """Play `steps_per_collection` steps in all environments of all processes and store the episodes that end.

        Raises:
            DivergedError: if the policy is no longer finite, in any process.
        """
        self.source.refresh()
        self._store(lambda: [self._play(self.source, self.frames)])

    def _play(self, source: StepSource, frames: int) -> tuple[int, TensorDict | None]:
        steps = source.next(self._epsilon_at(frames))
        return steps.numel(), self._assembler.add(steps)

    def _store(self, play: Callable[[], Played]) -> None:
        """Store what each process plays, in step."""

        def work() -> int:
            for frames, episodes in play():
                self.frames += frames * distributed.size()
                if episodes is not None:
                    self.count(summarize(episodes, self.env.entity_spec))
                    self._buffer.extend(episodes)
            return self._own_episodes

        self.agree(distributed.together(work))

    def collection_metrics(self) -> dict[str, float]:
        """Exploration."""
        return {"epsilon": self.epsilon}

    def sample(self) -> TensorDictBase:
        """A batch of `batch_size` different episodes, trimmed."""
        return sample_trimmed(self._buffer, self.batch_size, self.env.entity_spec.n_agents, self._draws)

    def next_batch(self) -> TensorDictBase:
        """Collect until an update is owed, then sample."""
        self.settle()
        self.at_rest()
        while not self._owed(self._fewest_episodes):
            self.collect()
            self.at_rest()
        self.batches += 1
        batch = self.sample()
        self._collect_ahead()
        return batch

    def _owed(self, episodes: int) -> bool:
        return self.batches + 1 <= (episodes - self.warmup_episodes) * self.updates_per_episode

    # ------------------------------------------------------------------ beside the updates

    def settle(self) -> None:
        """Wait for what is being collected beside an update, and store it.

        Raises:
            Exception: what went wrong over there.
        """
        if self._background is not None:
            played = self._background.wait() or []
            self._store(lambda: played)

    def _collect_ahead(self) -> None:
        """Begin to collect what the next batch will need; no counter moves before `settle`."""
        if self._background is None or self._source is None or self._owed(self._fewest_episodes):
            return
        self._source.refresh()
        self._background.start(partial(self._play_until_owed, self._source, self.frames, self.episodes))

    def _play_until_owed(self, source: StepSource, frames: int, episodes: int) -> Played:
        assert self._background is not None
        played: Played = []
        while not (self._owed(episodes) or self._background.closing):
            new_frames, ended = self._play(source, frames)
            frames, episodes = frames + new_frames, episodes + (0 if ended is None else len(ended))
            played.append((new_frames, ended))
        return played

    # ------------------------------------------------------------------ state

    def write_journal(self) -> None:
        """Write the episodes that are not on disk yet; a checkpoint needs them beside itself.

        Raises:
            OSError: if they cannot be written.
        """
        self.settle()
        if self._journal is not None and self._journal.end < self._own_episodes:
            first = max(self._journal.end, self._own_episodes - self._capacity)
            new = self._buffer[torch.arange(first, self._own_episodes) % self._capacity]
            self._journal.append(first, new.exclude("index"))

    def journal_files(self) -> dict[str, str]:
        """Names, relative to the checkpoints, and checksums of the files that hold the replay."""
        segments = [] if self._journal is None else self._journal.segments
        folder = _of_rank(Path(Path(REPLAY_FOLDER).name))
        return {f"{folder / segment['file']}": segment["sha256"] for segment in segments}

    def own_state(self) -> dict[str, Any]:
        """See `CollectionDataModule`; the replay itself is in the journal."""
        self.settle()
        segments = [] if self._journal is None else self._journal.segments
        return {**super().own_state(), "journal": segments, "draws": self._draws.get_state()}

    def load_own_state(self, state: dict[str, Any]) -> None:
        """See `CollectionDataModule`."""
        super().load_own_state(state)
        assert self._journal is not None
        self._journal.segments = state["journal"]
        self._refill()
        self._draws.set_state(state["draws"])

    def _refill(self) -> None:
        """Put the last episodes back where they were: number n at n modulo the capacity."""
        assert self._journal is not None
        kept = range(max(0, self._own_episodes - self._capacity), self._own_episodes)
        turn = next((n for n in kept if n % self._capacity == 0), kept.start)
        for numbers in (range(turn, kept.stop), range(kept.start, turn)):
            for start in range(numbers.start, numbers.stop, _REFILL):
                part = range(start, min(start + _REFILL, numbers.stop))
                self._buffer.extend(self._journal.read(self.env.entity_spec, part))
        writer = self._buffer.writer
        writer.load_state_dict({**writer.state_dict(), "_cursor": self._own_episodes % self._capacity})


def _of_rank(folder: Path) -> Path:
    """A process's own, so that none meets the files of another; the first keeps the folder."""
    return folder / f"rank_{distributed.rank()}" if distributed.rank() else folder
