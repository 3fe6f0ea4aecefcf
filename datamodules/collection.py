"""What all datamodules share: a TorchRL collector driven by the algorithm's policy, counts, state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

from lightning import LightningDataModule
from tensordict import TensorDict, TensorDictBase

from datamodules.collectors import CollectorKind, check_workers, make_source
from datamodules.sources import StepSource
from mipi_pl import distributed
from mipi_pl.actor import Actor
from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.envs.base import EntityEnv
from mipi_pl.utils.checks import choose, require


class Assembler(Protocol):
    """Makes of a collector's steps what batches are made of, and keeps what is not complete."""

    def state_dict(self) -> dict[str, Any]:
        """What is not complete, as plain tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


class CollectionDataModule(LightningDataModule):
    """Collects steps with the current policy; what becomes of them is the subclass's business.

    Args:
        make_env: factory of the training environments; takes num_envs and seed.
        num_envs: B, environments stepped at once.
        seed: of environments and exploration.
        steps_per_collection: environment steps between two looks for finished episodes.
        updates_per_epoch: length of a Lightning epoch.
        collector: where the environments live: ``inline``, ``processes`` or ``ray``.
        workers: processes that share the environments, but for ``inline``.
        own_copy: collect with a copy of the policy, so that learning and collecting may go on at the same time.

    Attributes:
        env: the training environments; with workers a single one that is never played, for its sizes.
        exact_resume: whether a checkpoint holds all that the next batches depend on.
        at_rest: called when all that belongs to the batch before is done: the moments at which a checkpoint is exact.
        frames: environment steps collected, each environment counted, over all processes.
        episodes: episodes finished and used, over all processes.
        cut_short: those of this process that a fault of the world has ended.
        batches: batches given.

    Raises:
        ValueError: for values out of range.
    """

    def __init__(
        self,
        make_env: Callable[..., EntityEnv],
        num_envs: int,
        seed: int,
        steps_per_collection: int,
        updates_per_epoch: int,
        collector: str = "inline",
        workers: int = 1,
        own_copy: bool = False,
    ) -> None:
        super().__init__()
        at_least_one = {
            "num_envs": num_envs,
            "steps_per_collection": steps_per_collection,
            "updates_per_epoch": updates_per_epoch,
        }
        for name, value in at_least_one.items():
            require(f"datamodule.{name}", value, 1)
        kind = choose("datamodule.collector", collector, CollectorKind)
        check_workers(kind, workers, num_envs)
        self.exact_resume = kind is CollectorKind.INLINE
        self.env = make_env(num_envs=num_envs if self.exact_resume else 1, seed=seed)
        self._connect = make_source(kind, self.env, make_env, num_envs, steps_per_collection, workers, own_copy)
        self.seed = seed
        self.steps_per_collection, self.updates_per_epoch = steps_per_collection, updates_per_epoch
        self.frames = self.episodes = self.batches = self.cut_short = 0
        self._own_episodes = self._fewest_episodes = 0  # of this process, and of the one that has fewest
        self.at_rest: Callable[[], None] = _nothing
        self._finished: list[TensorDictBase] = []
        self._assembler: Assembler  # of the subclass
        self._source: StepSource | None = None
        self._actor: Actor | None = None

    @abstractmethod
    def next_batch(self) -> TensorDictBase:
        """Collect as long as it takes, then a batch [N] of sequences, trimmed."""

    # ------------------------------------------------------------------ collection

    def setup(self, stage: str) -> None:
        """Connect the collector to the algorithm that is trained."""
        if self._source is None and self.trainer is not None:
            algorithm = cast(EntityAlgorithm, self.trainer.lightning_module)
            seed = distributed.rank_seed(self.seed)
            if seed != self.seed:
                self.reseed(seed)
            self.connect(algorithm.actor(greedy=False, seed=seed), seed)

    def teardown(self, stage: str) -> None:
        """End the workers and close the environments, however training ended."""
        if self._source is not None:
            self._source.close()
        self.env.close(raise_if_closed=False)

    def reseed(self, seed: int) -> None:
        """Of a process among several: battles and draws of its own."""
        self.env.set_seed(seed)

    def connect(self, actor: Actor, seed: int = 0) -> None:
        """Collect with `actor` from now on; `seed` is for the environments of workers."""
        self._actor = actor
        self._source = self._connect(actor, seed, lambda: self.frames)

    @property
    def source(self) -> StepSource:
        """Where steps come from.

        Raises:
            RuntimeError: if there is no policy yet.
        """
        if self._source is None:
            raise RuntimeError("the datamodule has no policy to collect with: call setup() or connect(actor) first")
        return self._source

    def count(self, finished: TensorDictBase) -> None:
        """Take note of the outcome (see `datamodules.episodes.summarize`) of episodes that this process uses."""
        self._own_episodes += len(finished)
        self.cut_short += int(finished["cut_short"].sum())
        if len(finished):
            self._finished.append(finished)

    def agree(self, of_processes: list[int]) -> None:
        """Count the episodes of all processes, from the own count of each."""
        self.episodes, self._fewest_episodes = sum(of_processes), min(of_processes)

    def finished(self) -> list[TensorDictBase]:
        """Return, length, outcome and composition of this process's episodes counted since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def collection_metrics(self) -> dict[str, float]:
        """What else there is to log about collection now."""
        return {}

    def train_dataloader(self) -> Epoch:
        """Batches for one epoch after the other."""
        return Epoch(self.next_batch, self.updates_per_epoch)

    # ------------------------------------------------------------------ state

    def write_journal(self) -> None:
        """Write what a checkpoint needs beside itself.

        Raises:
            OSError: if it cannot be written.
        """

    def journal_files(self) -> dict[str, str]:
        """Names, relative to the checkpoints, and checksums of the files that `write_journal` wrote."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """All that the next batches of all processes depend on, besides the files of `write_journal`."""
        return {} if self._source is None else distributed.join_states(self.own_state())

    def own_state(self) -> dict[str, Any]:
        """What those of this process depend on, as plain tensors."""
        return {
            "frames": self.frames,
            "episodes": self._own_episodes,
            "batches": self.batches,
            "cut_short": self.cut_short,
            "finished": [episodes.to_dict() for episodes in self._finished],
            **(self.under_way(self.source) if self.exact_resume else {}),
        }

    def under_way(self, source: StepSource) -> dict[str, Any]:
        """Environments and policy, and the episodes that are not over."""
        return {"assembler": self._assembler.state_dict(), **source.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave, bit for bit; environments of workers begin new episodes.

        Raises:
            ValueError: if it belongs to other environments or another number of processes, or a file of the journal
                is missing or damaged.
        """
        of_all = distributed.split_states(state)
        self.load_own_state(of_all[distributed.rank()])
        self.agree([one["episodes"] for one in of_all])

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Go on from what `own_state` gave."""
        source = self.source
        if self.exact_resume:
            source.load_state_dict(state)
            self._assembler.load_state_dict(state["assembler"])
        self._finished = [TensorDict(episodes).auto_batch_size_(1) for episodes in state["finished"]]
        self.frames, self._own_episodes, self.batches = state["frames"], state["episodes"], state["batches"]
        self.cut_short = state.get("cut_short", 0)  # younger than the first checkpoints


def _nothing() -> None:
    """Nobody wants to know."""


class Epoch:
    """An epoch of batches. It has a length, without which Lightning would fetch one batch ahead of the policy."""

    def __init__(self, next_batch: Callable[[], TensorDictBase], length: int) -> None:
        self.next_batch, self.length = next_batch, length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[TensorDictBase]:
        for _ in range(len(self)):
            yield self.next_batch()
