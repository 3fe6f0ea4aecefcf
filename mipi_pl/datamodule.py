"""The interface of datamodules, as callbacks and the life of a run use it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from lightning import Trainer
from tensordict import TensorDictBase

from mipi_pl.envs.base import EntityEnv


class DataModule(Protocol):
    """A LightningDataModule that collects episodes with the algorithm's own policy.

    Attributes:
        env: the training environments; where they live in other processes, a single one that is never played.
        on_policy: whether a batch is a rollout of the present policy (True) or a sample of a replay (False).
        exact_resume: whether a checkpoint holds everything that the next batches depend on.
        at_rest: called between two updates, when a checkpoint is exact; a callback sets it.
        frames: environment steps collected, over all processes.
        episodes: episodes finished and used, over all processes.
        cut_short: episodes that a fault of the world has ended, in this process.
    """

    env: EntityEnv
    on_policy: bool
    exact_resume: bool
    at_rest: Callable[[], None]
    frames: int
    episodes: int
    cut_short: int

    def finished(self) -> Sequence[TensorDictBase]:
        """Return, length and outcome of this process's episodes that ended since the last call."""
        ...

    def collection_metrics(self) -> Mapping[str, float]:
        """Further metrics of collection, such as epsilon."""
        ...

    def write_journal(self) -> None:
        """Write the files that a checkpoint needs beside itself.

        Raises:
            OSError: if they cannot be written.
        """
        ...

    def journal_files(self) -> Mapping[str, str]:
        """Names of those files, relative to the checkpoints, and their checksums."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """State of the datamodule in a checkpoint."""
        ...

    def teardown(self, stage: str) -> None:
        """Release what is open."""
        ...


def datamodule_of(trainer: Trainer) -> DataModule:
    """The datamodule of a run; Lightning's Trainer has it in an attribute without a type."""
    return cast(DataModule, trainer.datamodule)  # type: ignore[attr-defined]
