"""The replay datamodule: whole episodes in a TensorDict replay buffer, with a fixed number of updates per episode."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase

from mipi_pl import distributed
from mipi_pl.actor import Actor
from mipi_pl.datamodules.background import Background
from mipi_pl.datamodules.collection import CollectionDataModule
from mipi_pl.datamodules.episode_buffer import EpisodeBuffer
from mipi_pl.datamodules.episodes import EpisodeAssembler, number_of_faults, summarize, without_faults
from mipi_pl.datamodules.journal import EpisodeJournal
from mipi_pl.datamodules.sources import StepSource
from mipi_pl.envs.base import MakeEnv
from mipi_pl.utils.checks import LOST_AFTER_S, require
from mipi_pl.utils.closing import closed_on_error

REPLAY_FOLDER = "checkpoints/replay"
"""Folder of the stored episodes, relative to the run folder."""

Played = list[tuple[int, TensorDict | None, int]]
"""Number of frames, finished episodes, and number of episodes thrown away, for each collection."""


class ReplayDataModule(CollectionDataModule):
    """Collects episodes with the current policy, stores them whole, and yields trimmed batches of them.

    Args:
        seed: seed of the environments, of exploration and of sampling.
        capacity: episodes kept; the oldest are replaced first.
        batch_size: N, episodes in a batch.
        updates_per_episode: batches yielded per collected episode.
        warmup_episodes: episodes collected before the first batch; raised to `batch_size` if smaller.
        steps_per_collection: steps per environment in one collection; finished episodes are stored after each.
        epsilon_start: initial probability of uniform exploration.
        epsilon_end: probability of uniform exploration from frame `epsilon_frames` on.
        epsilon_frames: frames over which epsilon is annealed linearly.
        epsilon_hold: mean number of steps for which an exploring agent repeats its action.
        storage: ``ram``, or ``memmap`` for temporary files on disk, which are removed when training ends. `mipi resume`
            does not need them: it reads the episodes from the run folder.
        storage_dir: see `mipi_pl.datamodules.episode_buffer.EpisodeBuffer`.
        overlap: collect for the next batch while an update runs, with the policy from before that update.

    Other arguments and attributes: see `CollectionDataModule`. `at_rest` is called before a batch is sampled and after
    each collection.

    Raises:
        ValueError: if a value is out of range, the replay does not fit into the memory or onto the disk of this
            machine, or for `overlap` with several processes, which collect in lockstep.
        OSError: if no folder can be created in `storage_dir`.
    """

    on_policy = False
    _assembler: EpisodeAssembler

    def __init__(
        self,
        make_env: MakeEnv,
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
        max_faults: int = 100,
        lost_after_s: float = LOST_AFTER_S,
        curriculum: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        require("datamodule.batch_size", batch_size, 1)
        for name, share in {"epsilon_start": epsilon_start, "epsilon_end": epsilon_end}.items():
            require(f"datamodule.{name}", share, 0, 1)
        for name, value in {"warmup_episodes": warmup_episodes, "epsilon_frames": epsilon_frames}.items():
            require(f"datamodule.{name}", value, 0)
        if not batch_size <= capacity:
            raise ValueError(f"datamodule.capacity ({capacity}) must hold at least one batch ({batch_size} episodes)")
        require("datamodule.updates_per_episode", updates_per_episode, 0, above=True)
        require("datamodule.epsilon_hold", epsilon_hold, 1)
        if overlap and distributed.size() > 1:
            raise ValueError(
                f"datamodule.overlap needs a single process, and this run has {distributed.size()}, which collect in "
                "lockstep: set datamodule.overlap=false or trainer.devices=1"
            )
        # Nothing may fail once the environments are open: one may be a running game.
        self._buffer = EpisodeBuffer(capacity, storage, storage_dir)
        super().__init__(
            make_env,
            num_envs=num_envs,
            seed=seed,
            steps_per_collection=steps_per_collection,
            updates_per_epoch=updates_per_epoch,
            collector=collector,
            workers=workers,
            own_copy=overlap,
            max_faults=max_faults,
            lost_after_s=lost_after_s,
            curriculum=curriculum,
        )
        with closed_on_error(self.env):
            self._buffer.require_room(self.env.entity_spec, num_envs)
            self._assembler = EpisodeAssembler(num_envs, self.env.entity_spec)
        self._background: Background[Played] | None = Background() if overlap else None
        self.batch_size = batch_size
        self.updates_per_episode = updates_per_episode
        self.warmup_episodes = max(warmup_episodes, batch_size)
        self.epsilon_hold = epsilon_hold
        self.epsilon_start, self.epsilon_end, self.epsilon_frames = epsilon_start, epsilon_end, epsilon_frames
        self._draws = torch.Generator().manual_seed(seed)
        self._journal: EpisodeJournal | None = None

    def setup(self, stage: str) -> None:
        """Connect the collector to the algorithm being trained, and the journal to the run folder."""
        if self._journal is None and self.trainer is not None:
            folder = _of_rank(Path(self.trainer.default_root_dir) / REPLAY_FOLDER)
            self._journal = EpisodeJournal(folder, self._buffer.capacity)
        super().setup(stage)

    def connect(self, actor: Actor, seed: int = 0) -> None:
        """Collect with `actor` from now on, with the exploration set in this datamodule."""
        actor.hold = self.epsilon_hold
        super().connect(actor, seed)

    def reseed(self, seed: int) -> None:
        """Reseed environments and sampling, so that each of several processes has different episodes and batches."""
        super().reseed(seed)
        self._draws.manual_seed(seed)

    def teardown(self, stage: str) -> None:
        """End the thread and the workers and remove the ``memmap`` files, whether or not training succeeded."""
        if self._background is not None:
            self._background.close()
        super().teardown(stage)
        self._buffer.close()

    @property
    def epsilon(self) -> float:
        """Probability of uniform exploration after the frames collected so far."""
        return self._epsilon_at(self.frames)

    def _epsilon_at(self, frames: int) -> float:
        progress = min(1.0, frames / self.epsilon_frames) if self.epsilon_frames else 1.0
        return self.epsilon_start + progress * (self.epsilon_end - self.epsilon_start)

    def collect(self) -> None:
        """Play `steps_per_collection` steps in all environments of all processes and store the finished episodes.

        Raises:
            DivergedError: if the policy is no longer finite in any process.
        """
        self.source.refresh()
        self._store(lambda: [self._play(self.source, self.frames)])

    def _play(self, source: StepSource, frames: int) -> tuple[int, TensorDict | None, int]:
        self.begin_stage(frames)
        steps = source.next(self._epsilon_at(frames))
        faults, episodes = number_of_faults(steps), self._assembler.add(steps)
        return steps.numel(), None if episodes is None else without_faults(episodes, faults), faults

    def _store(self, play: Callable[[], Played]) -> None:
        """Run `play` and store its episodes, in all processes together."""

        def work() -> int:
            for frames, episodes, faults in play():
                self.frames += frames * distributed.size()
                self.count_faults(faults)
                if episodes is not None:
                    self.count(summarize(episodes, self.env.entity_spec))
                    self._buffer.extend(episodes)
            return self._own_episodes

        self.agree(distributed.run_and_gather(work))

    def collection_metrics(self) -> dict[str, float]:
        """Return epsilon, the probability of uniform exploration, and the largest team of the curriculum."""
        return {"epsilon": self.epsilon, **super().collection_metrics()}

    def sample(self) -> TensorDictBase:
        """Return a trimmed batch of `batch_size` different episodes."""
        return self._buffer.sample(self.batch_size, self.env.entity_spec.n_agents, self._draws)

    def next_batch(self) -> TensorDictBase:
        """Collect until the number of episodes allows another update, then sample a batch."""
        self.settle()
        self.rest()
        while not self._owed(self._fewest_episodes):
            self.collect()
            self.rest()
        self.batches += 1
        batch = self.sample()
        self._collect_ahead()
        return batch

    @property
    def episodes_before_update(self) -> int:
        """Episodes of each process that the first update needs."""
        per_update = min(1 / self.updates_per_episode, 1e18)  # infinite for the smallest numbers
        return math.ceil(self.warmup_episodes + per_update)

    def _owed(self, episodes: int) -> bool:
        """Whether `updates_per_episode` allows another update after so many episodes."""
        return self.batches + 1 <= (episodes - self.warmup_episodes) * self.updates_per_episode

    # ------------------------------------------------------------------ collection during updates

    def settle(self) -> None:
        """Wait for the collection that runs during an update, and store its episodes.

        Raises:
            Exception: any exception raised by that collection.
        """
        if self._background is not None:
            played = self._background.wait() or []
            self._store(lambda: played)

    def _collect_ahead(self) -> None:
        """Start collecting the episodes that the next batch will need; counters do not change before `settle`."""
        if self._background is None or self._source is None or self._owed(self._fewest_episodes):
            return
        self._source.refresh()
        self._background.start(partial(self._play_until_owed, self._source, self.frames, self.episodes))

    def _play_until_owed(self, source: StepSource, frames: int, episodes: int) -> Played:
        assert self._background is not None
        played: Played = []
        failed = self.faults
        while not (self._owed(episodes) or self._background.closing or failed >= self.max_faults):
            new_frames, ended, faults = self._play(source, frames)
            frames, episodes = frames + new_frames, episodes + (0 if ended is None else len(ended))
            failed += faults
            played.append((new_frames, ended, faults))
        return played

    # ------------------------------------------------------------------ state

    def write_journal(self) -> None:
        """Write the episodes that are not on disk yet; a checkpoint refers to their files.

        Raises:
            OSError: if the file cannot be written.
        """
        self.settle()
        if self._journal is not None and self._journal.end < self._own_episodes:
            first = max(self._journal.end, self._own_episodes - self._buffer.capacity)
            self._journal.append(first, self._buffer.numbered(range(first, self._own_episodes)))

    def journal_files(self) -> dict[str, str]:
        """Paths, relative to the checkpoint folder, and SHA-256 checksums of the files that hold the replay."""
        segments = [] if self._journal is None else self._journal.segments
        folder = _of_rank(Path(Path(REPLAY_FOLDER).name))
        return {f"{folder / segment['file']}": segment["sha256"] for segment in segments}

    def own_state(self) -> dict[str, Any]:
        """Return the state of this process as in `CollectionDataModule`; the replay itself is in the journal."""
        self.settle()
        segments = [] if self._journal is None else self._journal.segments
        return {**super().own_state(), "journal": segments, "draws": self._draws.get_state()}

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `own_state`, and read the replay from the journal."""
        super().load_own_state(state)
        assert self._journal is not None
        self._journal.segments = state["journal"]
        self._buffer.refill(self._own_episodes, partial(self._journal.read, self.env.entity_spec))
        self._draws.set_state(state["draws"])


def _of_rank(folder: Path) -> Path:
    """Return this process's folder; the first process uses `folder` itself, the others a subfolder of it."""
    return folder / f"rank_{distributed.rank()}" if distributed.rank() else folder
