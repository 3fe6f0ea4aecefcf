"""Base class of the datamodules: collection with the algorithm's policy, counters and checkpoint state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from lightning import LightningDataModule
from tensordict import TensorDict, TensorDictBase

from mipi_pl import distributed
from mipi_pl.actor import Actor
from mipi_pl.algorithms.base import algorithm_of
from mipi_pl.datamodules.collectors import CollectorKind, check_workers, make_source
from mipi_pl.datamodules.curriculum import Curriculum
from mipi_pl.datamodules.sources import StepSource
from mipi_pl.envs.base import MakeEnv
from mipi_pl.utils.checks import LOST_AFTER_S, choose, require
from mipi_pl.utils.closing import closed_on_error
from mipi_pl.utils.errors import TooManyFaultsError
from mipi_pl.utils.memory import require_memory

_MOST_SUMMARIES = 1_000
"""Number of summaries that are joined into one, because each of them is an entry of the checkpoints."""
_MOST_FINISHED = 250_000
"""Finished episodes of which summaries are kept; about 7 MB."""


class Assembler(Protocol):
    """Turns a collector's steps into episodes or sequences and keeps the unfinished ones."""

    def state_dict(self) -> dict[str, Any]:
        """Return the unfinished episodes or sequences as plain tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""


class CollectionDataModule(LightningDataModule):
    """Collects steps with the current policy; subclasses turn them into batches.

    Args:
        make_env: factory of the training environments; takes num_envs and seed.
        num_envs: B, environments stepped at once.
        seed: seed of the environments and of exploration.
        steps_per_collection: steps per environment in one collection; finished episodes are taken out after each.
        updates_per_epoch: length of a Lightning epoch, in updates.
        collector: ``inline`` steps the environments in this process; ``processes`` and ``ray`` divide them among
            workers, for slow environments.
        workers: number of workers for ``processes`` and ``ray``; a divisor of `num_envs`.
        own_copy: collect with a copy of the policy, so that learning and collection can run at the same time.
        max_faults: episodes of one process that the world may fail in before training ends, counted from the start or
            the resumption of the run. These episodes are thrown away.
        lost_after_s: seconds without a sign of life after which a worker process counts as lost.
        curriculum: team sizes by frames, see `mipi_pl.datamodules.curriculum.Curriculum`; None draws all of them
            throughout.

    Attributes:
        env: the training environments; with workers, a single environment that only provides the sizes.
        exact_resume: whether a checkpoint holds everything that the next batches depend on.
        at_rest: called whenever the previous batch has been fully processed; a checkpoint written then is exact.
        frames: environment steps collected, summed over environments and processes.
        episodes: episodes finished and used, over all processes.
        cut_short: episodes of this process that an environment fault ended, including those thrown away.
        faults: episodes of this process thrown away since the start or the resumption of the run.
        batches: batches returned so far.

    Raises:
        ValueError: if a value is out of range, a collection does not fit into the memory of this machine, the
            environments are on another device than the processor, or `curriculum` does not fit them or the collector.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        *,
        num_envs: int,
        seed: int,
        steps_per_collection: int,
        updates_per_epoch: int,
        collector: str = "inline",
        workers: int = 1,
        own_copy: bool = False,
        max_faults: int = 100,
        lost_after_s: float = LOST_AFTER_S,
        curriculum: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        at_least_one = {
            "num_envs": num_envs,
            "max_faults": max_faults,
            "steps_per_collection": steps_per_collection,
            "updates_per_epoch": updates_per_epoch,
        }
        for name, value in at_least_one.items():
            require(f"datamodule.{name}", value, 1)
        kind = choose("datamodule.collector", collector, CollectorKind)
        check_workers(kind, workers, num_envs, lost_after_s)
        if curriculum is not None and kind is not CollectorKind.INLINE:
            raise ValueError(
                f"datamodule.curriculum needs datamodule.collector=inline, got {kind.value}: workers do not know the "
                "number of frames"
            )
        self.exact_resume = kind is CollectorKind.INLINE
        self.env = make_env(num_envs=num_envs if self.exact_resume else 1, seed=seed)
        self.env.tolerant = True
        with closed_on_error(self.env):
            if self.env.device is not None and self.env.device.type != "cpu":
                raise ValueError(
                    f"the environments of training must be on the processor, got device {self.env.device}: leave out "
                    "env.device; trainer.accelerator is where the policy learns"
                )
            self._curriculum = None if curriculum is None else Curriculum(curriculum, self.env)
            require_memory(
                f"one collection of {steps_per_collection:,} steps in {num_envs:,} environments",
                2 * num_envs * steps_per_collection * self.env.entity_spec.step_bytes,  # each step and the next one
                "lower datamodule.num_envs and the steps per collection or rollout",
                distributed.size_here(),
            )
            self._connect = make_source(
                kind, self.env, make_env, num_envs, steps_per_collection, workers, own_copy, lost_after_s
            )
        self.seed, self.num_envs = seed, num_envs
        self.steps_per_collection, self.updates_per_epoch = steps_per_collection, updates_per_epoch
        self.max_faults = max_faults
        self.frames = self.episodes = self.batches = self.cut_short = self.faults = 0
        self._own_episodes = self._fewest_episodes = 0  # of this process; smallest count of any process
        self.at_rest: Callable[[], None] = _nothing
        self._finished: list[TensorDictBase] = []
        self._assembler: Assembler  # set by the subclass
        self._source: StepSource | None = None
        self._actor: Actor | None = None

    @abstractmethod
    def next_batch(self) -> TensorDictBase:
        """Collect until enough data is available, then return a trimmed batch [N] of sequences."""

    # ------------------------------------------------------------------ collection

    def setup(self, stage: str) -> None:
        """Connect the collector to the algorithm being trained."""
        if self._source is None and self.trainer is not None:
            algorithm = algorithm_of(self.trainer.lightning_module)
            seed = distributed.rank_seed(self.seed)
            if seed != self.seed:
                self.reseed(seed)
            self.connect(algorithm.actor(greedy=False, seed=seed), seed)

    def teardown(self, stage: str) -> None:
        """End the workers and close the environments, whether or not training succeeded."""
        if self._source is not None:
            self._source.close()
        self.env.close(raise_if_closed=False)

    def reseed(self, seed: int) -> None:
        """Reseed the environments, so that each of several processes plays different episodes."""
        self.env.set_seed(seed)

    def connect(self, actor: Actor, seed: int = 0) -> None:
        """Collect with `actor` from now on; `seed` is the seed of the workers' environments."""
        self._actor = actor
        self._source = self._connect(actor, seed, lambda: self.frames)

    @property
    def source(self) -> StepSource:
        """The source of environment steps.

        Raises:
            RuntimeError: if no policy is connected yet.
        """
        if self._source is None:
            raise RuntimeError("the datamodule has no policy to collect with: call setup() or connect(actor) first")
        return self._source

    def rest(self) -> None:
        """Allow a checkpoint to be written, then end training if the world has failed too often in any process.

        Raises:
            TooManyFaultsError: if it has.
        """
        self.at_rest()
        if distributed.any_rank(self.faults >= self.max_faults):
            faults = max(distributed.gather(self.faults))  # of one process, as the limit is
            raise TooManyFaultsError(
                f"the world has failed in {faults} episodes (datamodule.max_faults={self.max_faults}); the first "
                "failures are described above"
            )

    def count_faults(self, faults: int) -> None:
        """Count episodes of this process that were thrown away because the world failed in them."""
        self.faults += faults
        self.cut_short += faults

    def count(self, finished: TensorDictBase) -> None:
        """Count finished episodes of this process, given as summaries of `mipi_pl.datamodules.episodes.summarize`."""
        self._own_episodes += len(finished)
        self.cut_short += int(finished["cut_short"].sum())
        if len(finished):
            self._finished.append(finished)
        if len(self._finished) > _MOST_SUMMARIES:  # nobody has asked for them
            self._finished = [torch.cat(self._finished)[-_MOST_FINISHED:]]

    def agree(self, of_processes: list[int]) -> None:
        """Update the episode counts from the count of each process."""
        self.episodes, self._fewest_episodes = sum(of_processes), min(of_processes)

    def finished(self) -> list[TensorDictBase]:
        """Summaries of the episodes that this process counted since the last call; only of the newest 250,000."""
        finished, self._finished = self._finished, []
        return finished

    def collection_metrics(self) -> dict[str, float]:
        """Additional metrics about collection to log."""
        if self._curriculum is None:
            return {}
        # By the counter, which a checkpoint has, and not by the stage in which the background may be collecting.
        return {"largest_team": float(self._curriculum.largest_team(self.frames))}

    def begin_stage(self, frames: int) -> None:
        """Let new episodes have the team sizes of the curriculum after so many frames."""
        if self._curriculum is not None:
            self._curriculum.begin(frames)

    def train_dataloader(self) -> Epoch:
        """Return the batches of an epoch."""
        return Epoch(self.next_batch, self.updates_per_epoch)

    # ------------------------------------------------------------------ state

    def write_journal(self) -> None:
        """Write the files that a checkpoint refers to.

        Raises:
            OSError: if a file cannot be written.
        """

    def journal_files(self) -> dict[str, str]:
        """Paths, relative to the checkpoint folder, and SHA-256 checksums of the files that `write_journal` wrote."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all processes that the next batches depend on, except the files of `write_journal`."""
        return {} if self._source is None else distributed.join_states(self.own_state())

    def own_state(self) -> dict[str, Any]:
        """Return the state of this process, as plain tensors."""
        return {
            "frames": self.frames,
            "episodes": self._own_episodes,
            "batches": self.batches,
            "cut_short": self.cut_short,
            "finished": [episodes.to_dict() for episodes in self._finished],
            **(self.under_way(self.source) if self.exact_resume else {}),
        }

    def under_way(self, source: StepSource) -> dict[str, Any]:
        """Return the state of environments and policy, and the unfinished episodes."""
        return {"assembler": self._assembler.state_dict(), **source.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`, bit for bit; environments of workers begin new episodes.

        Raises:
            ValueError: if the state belongs to other environments or another number of processes, or a file of the
                journal is missing or damaged.
        """
        states = distributed.split_states(state)
        self.load_own_state(states[distributed.rank()])
        self.agree([own["episodes"] for own in states])

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `own_state`."""
        source = self.source
        if self.exact_resume:
            source.load_state_dict(state)
            self._assembler.load_state_dict(state["assembler"])
        self._finished = [TensorDict(episodes).auto_batch_size_(1) for episodes in state["finished"]]
        self.frames, self._own_episodes, self.batches = state["frames"], state["episodes"], state["batches"]
        self.cut_short = state.get("cut_short", 0)  # absent from the oldest checkpoints


def _nothing() -> None:
    """Default of `CollectionDataModule.at_rest`: does nothing."""


class Epoch:
    """Iterable of one epoch of batches.

    It has a length because Lightning prefetches from an iterable without one, and the prefetched batch would have been
    collected by an outdated policy.
    """

    def __init__(self, next_batch: Callable[[], TensorDictBase], length: int) -> None:
        self.next_batch, self.length = next_batch, length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[TensorDictBase]:
        for _ in range(len(self)):
            yield self.next_batch()
