"""The replay datamodule: TorchRL collector, whole episodes, TensorDict replay buffer, a fixed update-to-data ratio."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from lightning import LightningDataModule
from tensordict import TensorDict, TensorDictBase
from torchrl.collectors import Collector
from torchrl.data import LazyMemmapStorage, LazyTensorStorage, TensorDictReplayBuffer

from datamodules.episodes import EpisodeAssembler, summarize, trim
from datamodules.journal import EpisodeJournal
from mipi_pl import ranks
from mipi_pl.actor import Actor
from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.checks import require
from mipi_pl.envs.base import EntityEnv

REPLAY_FOLDER = "checkpoints/replay"
"""Where the episodes are, below the run folder."""

_REFILL = 256
"""Episodes that are read at once when a run is resumed."""


class ReplayDataModule(LightningDataModule):
    """Collects with the current policy, stores whole episodes, and yields trimmed batches of them.

    Of several processes each has environments and a replay of its own. They collect in step, until an update is owed to
    the one with the fewest episodes, so that all have made the same number of frames and updates at any time.

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
        storage: ``ram`` or ``memmap`` (on disk, in `storage_dir`).
        storage_dir: folder for ``memmap``, of several processes the parent of one for each; None makes a temporary one.
        updates_per_epoch: length of a Lightning epoch.

    Attributes:
        env: the training environments.
        at_rest: called before and while a batch is made, when all that belongs to the one before is done: the moments
            at which a checkpoint is exact.
        frames: environment steps collected, each environment counted, over all processes.
        episodes: episodes finished and stored, over all processes.

    Raises:
        ValueError: for values out of range.
    """

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
        storage: str = "ram",
        storage_dir: str | None = None,
        updates_per_epoch: int = 100,
    ) -> None:
        super().__init__()
        if storage not in ("ram", "memmap"):
            raise ValueError(f"datamodule.storage must be 'ram' or 'memmap', got {storage!r}")
        at_least_one = {
            "num_envs": num_envs,
            "batch_size": batch_size,
            "steps_per_collection": steps_per_collection,
            "updates_per_epoch": updates_per_epoch,
        }
        for name, value in at_least_one.items():
            require(f"datamodule.{name}", value, 1)
        for name, share in {"epsilon_start": epsilon_start, "epsilon_end": epsilon_end}.items():
            require(f"datamodule.{name}", share, 0, 1)
        for name, value in {"warmup_episodes": warmup_episodes, "epsilon_frames": epsilon_frames}.items():
            require(f"datamodule.{name}", value, 0)
        if not batch_size <= capacity:
            raise ValueError(f"datamodule.capacity ({capacity}) must hold at least one batch ({batch_size} episodes)")
        require("datamodule.updates_per_episode", updates_per_episode, 0, above=True)
        self.env = make_env(num_envs=num_envs, seed=seed)
        self.seed, self.batch_size = seed, batch_size
        self.updates_per_episode = updates_per_episode
        self.warmup_episodes = max(warmup_episodes, batch_size)
        self.steps_per_collection = steps_per_collection
        self.epsilon_start, self.epsilon_end, self.epsilon_frames = epsilon_start, epsilon_end, epsilon_frames
        self.updates_per_epoch = updates_per_epoch
        self.frames = self.episodes = self.batches = 0
        self._stored = self._fewest = 0  # episodes of this process, and of that with the fewest
        self._finished: list[TensorDictBase] = []
        self._assembler = EpisodeAssembler(num_envs, self.env.entity_spec)
        self._draws = torch.Generator().manual_seed(seed)
        self._buffer = TensorDictReplayBuffer(
            storage=self._make_storage(storage, capacity, storage_dir),
            batch_size=batch_size,
            generator=self._draws,
        )
        self._collector: Collector | None = None
        self._stream: Iterator[TensorDictBase] | None = None
        self._actor: Actor | None = None
        self._capacity = capacity
        self._journal: EpisodeJournal | None = None
        self.at_rest: Callable[[], None] = _nothing

    @staticmethod
    def _make_storage(kind: str, capacity: int, folder: str | None) -> LazyTensorStorage:
        if kind == "ram":
            return LazyTensorStorage(capacity)
        path = _of_rank(Path(folder)) if folder else Path(tempfile.mkdtemp(prefix="mipi-replay-"))
        return LazyMemmapStorage(capacity, scratch_dir=str(path))

    def setup(self, stage: str) -> None:
        """Connect the collector to the algorithm that is trained."""
        if self._actor is None and self.trainer is not None:
            self._journal = EpisodeJournal(
                _of_rank(Path(self.trainer.default_root_dir) / REPLAY_FOLDER), self._capacity
            )
            algorithm = cast(EntityAlgorithm, self.trainer.lightning_module)
            seed = ranks.rank_seed(self.seed)
            if seed != self.seed:
                self.env.set_seed(seed)
                self._draws.manual_seed(seed)
            self.connect(algorithm.actor(greedy=False, seed=seed))

    def connect(self, actor: Actor) -> None:
        """Collect with `actor` from now on."""
        self._actor = actor
        self._collector = Collector(
            self.env,
            actor,
            frames_per_batch=self.env.num_envs * self.steps_per_collection,
            total_frames=-1,
            return_same_td=True,
            compact_obs=False,
            track_traj_ids=False,
            trust_policy=True,
        )
        self._stream = iter(self._collector)

    @property
    def epsilon(self) -> float:
        """Exploration for the frames collected so far."""
        done = min(1.0, self.frames / self.epsilon_frames) if self.epsilon_frames else 1.0
        return self.epsilon_start + done * (self.epsilon_end - self.epsilon_start)

    def collect(self) -> None:
        """Play `steps_per_collection` steps in all environments of all processes and store the episodes that end.

        Raises:
            DivergedError: if the policy is no longer finite, in any process.
        """
        stored = ranks.together(self._collect)
        self.episodes, self._fewest = sum(stored), min(stored)

    def _collect(self) -> int:
        if self._stream is None or self._actor is None:
            raise RuntimeError("the datamodule has no policy to collect with: call setup() or connect(actor) first")
        self._actor.epsilon = self.epsilon
        steps = next(self._stream)
        self.frames += steps.numel() * ranks.size()
        episodes = self._assembler.add(steps)
        if episodes is not None:
            self._stored += len(episodes)
            self._buffer.extend(episodes)
            self._finished.append(summarize(episodes))
        return self._stored

    def finished(self) -> list[TensorDictBase]:
        """Return, length, outcome and composition of the episodes collected since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def sample(self) -> TensorDictBase:
        """A batch of `batch_size` episodes, trimmed."""
        return trim(self._buffer.sample(), self.env.entity_spec.n_agents)

    def train_dataloader(self) -> ReplayLoader:
        """Batches for one epoch after the other; collects whenever fewer are owed than the ratio allows."""
        return ReplayLoader(self)

    def next_batch(self) -> TensorDictBase:
        """Collect until an update is owed, then sample."""
        self.at_rest()
        while self.batches + 1 > (self._fewest - self.warmup_episodes) * self.updates_per_episode:
            self.collect()
            self.at_rest()
        self.batches += 1
        return self.sample()

    # ------------------------------------------------------------------ state

    def write_journal(self) -> None:
        """Write the episodes that are not on disk yet; a checkpoint needs them beside itself.

        Raises:
            OSError: if they cannot be written.
        """
        if self._journal is not None and self._journal.end < self._stored:
            first = max(self._journal.end, self._stored - self._capacity)
            new = self._buffer[torch.arange(first, self._stored) % self._capacity]
            self._journal.append(first, new.exclude("index"))

    def journal_files(self) -> dict[str, str]:
        """Names, relative to the checkpoints, and checksums of the files that hold the replay."""
        segments = [] if self._journal is None else self._journal.segments
        folder = _of_rank(Path(Path(REPLAY_FOLDER).name))
        return {f"{folder / segment['file']}": segment["sha256"] for segment in segments}

    def state_dict(self) -> dict[str, Any]:
        """All that the next batches of all processes depend on, as plain tensors; the rest is in their journals."""
        if self._collector is None or self._actor is None:
            return {}
        own = {
            "frames": self.frames,
            "episodes": self._stored,
            "batches": self.batches,
            "journal": [] if self._journal is None else self._journal.segments,
            "draws": self._draws.get_state(),
            "environment": self.env.get_extra_state(),
            # TorchRL has no public name for the observation that the next step starts from.
            "observation": self._collector._carrier.clone().to_dict(),
            "actor": self._actor.memory(),
            "assembler": self._assembler.state_dict(),
            "finished": [episodes.to_dict() for episodes in self._finished],
        }
        return ranks.join_states(own)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave, bit for bit.

        Raises:
            ValueError: if it belongs to other environments or another number of processes, or an episode file is
                missing or damaged.
        """
        if self._collector is None or self._actor is None or self._journal is None:
            raise RuntimeError("the datamodule has no policy to collect with: call setup() first")
        of_all = ranks.split_states(state)
        stored = [one["episodes"] for one in of_all]
        state = of_all[ranks.rank()]
        self.env.set_extra_state(state["environment"])
        self._collector._carrier.update(state["observation"])
        self._actor.remember(state["actor"])
        self._assembler.load_state_dict(state["assembler"])
        self._finished = [TensorDict(episodes).auto_batch_size_(1) for episodes in state["finished"]]
        self.frames, self.batches, self._stored = state["frames"], state["batches"], state["episodes"]
        self.episodes, self._fewest = sum(stored), min(stored)
        self._journal.segments = state["journal"]
        self._refill()
        self._draws.set_state(state["draws"])

    def _refill(self) -> None:
        """Put the last episodes back where they were: number n at n modulo the capacity."""
        assert self._journal is not None
        kept = range(max(0, self._stored - self._capacity), self._stored)
        turn = next((n for n in kept if n % self._capacity == 0), kept.start)
        for numbers in (range(turn, kept.stop), range(kept.start, turn)):
            for start in range(numbers.start, numbers.stop, _REFILL):
                part = range(start, min(start + _REFILL, numbers.stop))
                self._buffer.extend(self._journal.read(self.env.entity_spec, part))
        writer = self._buffer.writer
        writer.load_state_dict({**writer.state_dict(), "_cursor": self._stored % self._capacity})


def _of_rank(folder: Path) -> Path:
    """A process's own, so that none meets the files of another; the first keeps the folder."""
    return folder / f"rank_{ranks.rank()}" if ranks.rank() else folder


def _nothing() -> None:
    """Nobody wants to know."""


class ReplayLoader:
    """An epoch of batches. It has a length, without which Lightning would fetch one batch ahead of the policy."""

    def __init__(self, data: ReplayDataModule) -> None:
        self.data = data

    def __len__(self) -> int:
        return self.data.updates_per_epoch

    def __iter__(self) -> Iterator[TensorDictBase]:
        for _ in range(len(self)):
            yield self.data.next_batch()
