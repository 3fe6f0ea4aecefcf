"""Interface of the datamodules for callbacks and commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from lightning import Trainer
from tensordict import TensorDictBase

from mipi_pl import distributed
from mipi_pl.envs.base import EntityEnv


class DataModule(Protocol):
    """LightningDataModule that collects episodes with the algorithm's policy.

    Attributes:
        env: the training environments; if they run in worker processes, a single environment that is never stepped.
        on_policy: whether a batch is a rollout of the present policy (True) or a sample of a replay (False).
        exact_resume: whether a checkpoint holds everything that the next batches depend on.
        at_rest: called between two updates, when a checkpoint is exact; set by a callback.
        frames: environment steps collected, over all processes.
        episodes: episodes finished and used, over all processes.
        cut_short: episodes ended by a fault of the environment, in this process.
    """

    env: EntityEnv
    on_policy: bool
    exact_resume: bool
    at_rest: Callable[[], None]
    frames: int
    episodes: int
    cut_short: int

    def finished(self) -> Sequence[TensorDictBase]:
        """Return the episodes of this process that ended since the last call: their return, length and outcome."""
        ...

    def collection_metrics(self) -> Mapping[str, float]:
        """Return additional metrics of the collection, such as epsilon."""
        ...

    def write_journal(self) -> None:
        """Write the additional files that a checkpoint needs.

        Raises:
            OSError: if they cannot be written.
        """
        ...

    def journal_files(self) -> Mapping[str, str]:
        """Return the names of the additional files, relative to the checkpoints, with their checksums."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the datamodule for a checkpoint."""
        ...

    def teardown(self, stage: str) -> None:
        """Release the open resources."""
        ...


def datamodule_of(trainer: Trainer) -> DataModule:
    """Return the datamodule of a run. The attribute of Lightning's Trainer has no type."""
    return cast(DataModule, trainer.datamodule)  # type: ignore[attr-defined]


def needed_files(trainer: Trainer) -> dict[str, str]:
    """Return the names of the additional files of all processes, as `DataModule.journal_files`, with their checksums.

    Every process must call this.
    """
    files = distributed.gather(dict(datamodule_of(trainer).journal_files()))
    return {name: sha256 for own in files for name, sha256 in own.items()}
