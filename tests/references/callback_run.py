"""A run for the tests of callbacks: a matrix game, and a training loop that collects and learns nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from tensordict import TensorDict

from mipi_pl import spec as keys
from mipi_pl.callbacks.generalization import GeneralizationEvaluation
from mipi_pl.callbacks.progress import Progress
from mipi_pl.envs.matrix import MatrixGame

PAYOFFS = {"AB": [[1.0, 0.0], [0.0, 0.0]], "BB": [[0.0, 0.0], [0.0, 1.0]]}


class Data(LightningDataModule):
    """Seven frames and one episode for each batch, every fourth of them cut short; epochs of three batches."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = self.episodes = self.cut_short = 0
        self.env = make_env(num_envs=1, seed=0)
        self.epsilon = 0.5
        self._finished: list[TensorDict] = []
        self.at_rest: Any = lambda: None

    def write_journal(self) -> None:
        """Nothing is kept."""

    def journal_files(self) -> dict[str, str]:
        return {}

    def collection_metrics(self) -> dict[str, float]:
        return {"epsilon": 0.5}

    def train_dataloader(self) -> Data:
        return self

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[int]:
        for _ in range(3):
            self.at_rest()
            self.frames += 7
            self.episodes += 1
            self.cut_short += int(self.episodes % 4 == 0)
            outcome = {"won": [True], "return_": [2.0], "length": [7], "composition": [0]}
            content = {name: torch.tensor(value) for name, value in outcome.items()}
            self._finished.append(TensorDict(content, batch_size=[1]))
            yield 0

    def finished(self) -> list[TensorDict]:
        found, self._finished = self._finished, []
        return found


class Replay(Data):
    """Comes to rest after each collection too, as a replay does."""

    def __iter__(self) -> Iterator[int]:
        for batch in super().__iter__():
            self.at_rest()
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"frames": self.frames}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.frames = state_dict["frames"]


class Learner(LightningModule):
    """Plays action 0, or 1 once it has made four updates; by its utilities, the other way round."""

    fits_policy_to_utilities = True

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.updates = 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def training_step(self, batch: int, batch_idx: int) -> None:
        optimizer = self.optimizers()
        self.manual_backward(self.weight)
        optimizer.step()  # type: ignore[union-attr]
        self.updates += 1

    def actor(self, greedy: bool, seed: int, by_utilities: bool = False) -> Any:
        assert greedy

        def act(td: TensorDict) -> TensorDict:
            return td.set(keys.ACTION, torch.full((*td.batch_size, 2), int((self.updates >= 4) != by_utilities)))

        return act


def make_env(*, num_envs: int, seed: int, **changes: Any) -> MatrixGame:
    return MatrixGame(PAYOFFS, **{"team_compositions": ["AB"], **changes}, num_envs=num_envs, seed=seed)


def fit(
    folder: Path, *callbacks: Callback, data: Data | None = None, checkpoint: Path | None = None
) -> tuple[Trainer, Data, Learner]:
    data, learner = data or Data(), Learner()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=-1,
        callbacks=list(callbacks),
        logger=CSVLogger(str(folder), name="", version=""),
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(callback, Progress) for callback in callbacks),
    )
    trainer.fit(learner, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return trainer, data, learner


def evaluation(every_frames: int = 14) -> GeneralizationEvaluation:
    worlds = {"BB": {"team_compositions": ["BB"]}}
    return GeneralizationEvaluation(make_env, every_frames, episodes=6, worlds=worlds, seed=1)
