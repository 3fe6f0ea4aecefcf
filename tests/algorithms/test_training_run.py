"""The algorithms in a real Lightning run."""

from __future__ import annotations

import csv
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
from script_world import ScriptWorld
from worlds import small_mipi, small_q

from mipi_pl import spec as keys
from mipi_pl.algorithms.joint_value import JointValueAlgorithm
from mipi_pl.callbacks.collection import CollectionMetrics
from mipi_pl.callbacks.imaginary_partition import ImaginaryPartition
from mipi_pl.callbacks.target_update import TargetUpdate
from mipi_pl.datamodules.replay import ReplayDataModule
from mipi_pl.envs.matrix import MatrixGame

LENGTHS = [[3, 1, 4], [2, 2, 5], [6]]


class Witness(Callback):
    """Notes what each update was made with."""

    def __init__(self) -> None:
        self.partitions: list[torch.Tensor] = []
        self.steps: list[tuple[int, int]] = []
        self.targets: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.partitions.append(batch[keys.GROUPS])
        self.steps.append((trainer.global_step, pl_module.updates))
        self.targets.append(pl_module.target_agent.utilities.weight.clone())


def fit(
    algorithm: JointValueAlgorithm, data: ReplayDataModule, updates: int, *callbacks: Callback, **options: Any
) -> Trainer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            accelerator="cpu",
            **{"logger": False, **options},
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            max_steps=updates,
            callbacks=[ImaginaryPartition(seed=0), *callbacks],
        )
        trainer.fit(algorithm, datamodule=data)
    return trainer


def test_a_global_step_is_an_update_and_targets_follow_the_episodes(tmp_path: Path) -> None:
    data = ReplayDataModule(
        partial(ScriptWorld, LENGTHS), num_envs=3, batch_size=4, warmup_episodes=4, updates_per_epoch=5
    )
    algorithm = small_mipi(data.env.entity_spec, iterations=3)
    witness, targets = Witness(), TargetUpdate(every_episodes=8)
    logger = CSVLogger(str(tmp_path), name="", version="")
    trainer = fit(
        algorithm, data, 12, targets, witness, CollectionMetrics(every_updates=4), logger=logger, log_every_n_steps=4
    )
    assert trainer.global_step == algorithm.updates == data.batches == 12
    assert witness.steps == [(k, k) for k in range(1, 13)]
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    counts = [
        [(int(row["step"]), float(row["frames"])) for row in rows if row[column]]
        for column in ("train/loss/td", "collect/cut_short")
    ]
    assert counts[0] == counts[1], "rows of one update have its number and its frames"
    assert [step for step, _ in counts[0]] == [4, 8, 12]
    # 12 updates take 16 episodes and more: at least two refreshes, and not one at every update.
    refreshes = sum(not torch.equal(a, b) for a, b in zip(witness.targets, witness.targets[1:], strict=False))
    assert 1 <= refreshes <= 3
    assert targets.last_update >= 16
    for groups in witness.partitions:
        assert groups.shape[1] == algorithm.partitions_per_batch == 4
    assert not torch.equal(witness.partitions[0][:, 0], witness.partitions[0][:, 1])
    assert not torch.equal(witness.partitions[0][:, 0], witness.partitions[1][:, 0])


def test_no_metrics_of_updates_are_logged_every_zero_updates(tmp_path: Path) -> None:
    data = ReplayDataModule(partial(ScriptWorld, LENGTHS), num_envs=3, batch_size=4, warmup_episodes=4)
    algorithm = small_q(data.env.entity_spec)
    logger = CSVLogger(str(tmp_path), name="", version="")
    trainer = fit(algorithm, data, 3, TargetUpdate(every_episodes=8), logger=logger, log_every_n_steps=0)
    assert trainer.global_step == algorithm.updates == 3
    assert "train/loss/td" not in trainer.callback_metrics
    assert not (tmp_path / "metrics.csv").exists()


PAYOFFS = {"AB": [[1.0, 2.0], [0.0, 0.0]], "BA": [[1.0, 0.0], [2.0, 0.0]]}
"""A different best joint action in each composition; (0, 0) is fair in both."""


def train_on_the_matrix_game(seed: int, make: Any, payoffs: Any = PAYOFFS, updates: int = 120) -> JointValueAlgorithm:
    seed_everything(seed, verbose=False)
    data = ReplayDataModule(
        partial(MatrixGame, payoffs, ["AB", "BA"]),
        num_envs=32,
        seed=seed,
        batch_size=64,
        warmup_episodes=128,
        updates_per_episode=1 / 32,
        steps_per_collection=1,
        epsilon_end=0.5,
        epsilon_frames=1_000,
    )
    optimizer = partial(torch.optim.Adam, lr=1e-2)
    algorithm: JointValueAlgorithm = make(data.env.entity_spec, width=16, hidden=16, optimizer=optimizer, seed=seed)
    fit(algorithm, data, updates, TargetUpdate(every_episodes=320))
    return algorithm


def greedy_rewards(algorithm: JointValueAlgorithm, payoffs: Any = PAYOFFS) -> list[float]:
    """Joint reward in each composition."""
    found = []
    for name in payoffs:
        env = MatrixGame(payoffs, [name], num_envs=1)
        td = algorithm.actor(greedy=True)(env.reset())
        found.append(float(env.step(td)["next", keys.REWARD]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mipi_finds_the_best_joint_action_of_each_composition(seed: int) -> None:
    learned = train_on_the_matrix_game(seed, partial(small_mipi, alpha=0.05, iterations=1))
    assert greedy_rewards(learned) == [2.0, 2.0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["refil", "aqmix", "vdn", "collaq"])
def test_value_based_learners_find_the_best_joint_action_of_each_composition(kind: str) -> None:
    # A sum has no value of the state to take the mean return off the utilities, so it takes longer to tell teams apart.
    updates = 400 if kind == "vdn" else 120
    assert greedy_rewards(train_on_the_matrix_game(0, partial(small_q, kind=kind), updates=updates)) == [2.0, 2.0]


def test_at_alpha_infinity_the_action_is_found_that_is_best_without_knowing_the_composition() -> None:
    payoffs = {"AB": [[1.5, 2.0], [0.0, 0.0]], "BA": [[1.5, 0.0], [2.0, 0.0]]}
    blind = partial(small_mipi, regularizer="none", own_entity_only=True, iterations=1)
    assert greedy_rewards(train_on_the_matrix_game(0, blind, payoffs), payoffs) == [1.5, 1.5]
