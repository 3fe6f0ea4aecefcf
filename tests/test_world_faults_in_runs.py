"""Runs in worlds that fail: broken episodes are not learned from, and too many end training with a checkpoint."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from faulty_world import FaultyWorld
from ppo_worlds import small_mappo
from torch import Tensor
from worlds import small_mipi

from mipi_pl import spec as keys
from mipi_pl.cli import main
from mipi_pl.datamodules.on_policy import OnPolicyDataModule
from mipi_pl.datamodules.replay import ReplayDataModule
from mipi_pl.envs.frame import Frame
from mipi_pl.storage.checkpoints import CheckpointFolder
from mipi_pl.utils.errors import TooManyFaultsError

RUN = [
    "experiment=matrix_game",
    "debug=tiny",
    "total_frames=4000",
    "picture._target_=mipi_pl.evaluation.figures.draw_results",
    "~picture.payoffs",
    "~picture.trained",
    "~picture.alpha",
    "env._target_=faulty_world.FaultyWorld",
    "~env.payoffs",
    "~env.team_compositions",
    "~held_out.worlds.BB",
    "held_out.baselines=[]",
    "datamodule.max_faults=12",
]


def replay(**options: int) -> ReplayDataModule:
    module = ReplayDataModule(
        partial(FaultyWorld, every=3), num_envs=3, batch_size=4, warmup_episodes=4, capacity=40, **options
    )
    module.connect(small_mipi(module.env.entity_spec).actor(greedy=False))
    return module


def test_a_replay_stores_no_episode_that_the_world_failed_in() -> None:
    module = replay(steps_per_collection=5)
    for _ in range(12):
        module.collect()
    # 60 steps of each environment: two whole episodes and one of two steps take 14.
    assert module.faults == module.cut_short == 3 * 4
    assert module.episodes == len(module._buffer) == 3 * 8
    assert (module._buffer[:][keys.VALID].sum(dim=1) == 6).all()
    assert module._buffer[:][keys.REWARD].isfinite().all()
    summaries = torch.cat(module.finished())
    assert len(summaries) == module.episodes
    assert not summaries["cut_short"].any()


def test_a_rollout_keeps_no_step_of_a_sequence_that_the_world_failed_in() -> None:
    module = OnPolicyDataModule(partial(FaultyWorld, every=3), num_envs=3, rollout_steps=7)
    module.connect(small_mappo(module.env.entity_spec).actor(greedy=False, seed=0))
    batches = [module.next_batch() for _ in range(4)]  # 28 steps of each environment, which are two rounds of 14
    assert module.faults == module.cut_short == 3 * 2
    assert module.episodes == 3 * 4
    steps = sum(int(batch[keys.VALID].sum()) for batch in batches)
    assert steps == module.frames - 3 * 2 * 2, "the failed episodes have two steps each"
    for batch in batches:
        assert batch[keys.REWARD].isfinite().all()
        assert batch[keys.ENTITIES].isfinite().all()
        assert batch[keys.ENVIRONMENT].unique().tolist() == [0, 1, 2]
    assert not torch.cat(module.finished())["cut_short"].any()


class RarelyBeginning(FaultyWorld):
    """A world whose first attempt to begin each episode fails."""

    def begin(self, rows: Tensor, frame: Frame) -> None:
        super().begin(rows, frame)
        frame.entities[rows & (self.episode % 2 == 0), 0, 0] = torch.nan


def test_an_attempt_to_begin_that_fails_is_no_episode() -> None:
    module = OnPolicyDataModule(partial(RarelyBeginning, every=0), num_envs=2, rollout_steps=6)
    module.connect(small_mappo(module.env.entity_spec).actor(greedy=False, seed=0))
    batches = [module.next_batch() for _ in range(2)]
    assert module.episodes == 4
    assert module.faults == module.cut_short == 0, "docs/own_environment.md says so"
    assert sum(int(batch[keys.VALID].sum()) for batch in batches) == module.frames


def test_too_many_faults_end_collection_also_if_no_episode_is_whole() -> None:
    modules = (
        ReplayDataModule(partial(FaultyWorld, every=1), num_envs=2, max_faults=5),
        ReplayDataModule(partial(FaultyWorld, every=1), num_envs=2, max_faults=5, overlap=True),
        OnPolicyDataModule(partial(FaultyWorld, every=1, at=1), num_envs=2, rollout_steps=1, max_faults=5),
    )
    for module in modules:
        spec = module.env.entity_spec
        algorithm = small_mappo(spec) if module.on_policy else small_mipi(spec)
        module.connect(algorithm.actor(greedy=False, seed=0))
        with pytest.raises(TooManyFaultsError, match=r"failed in \d+ episodes \(datamodule.max_faults=5\)"):
            module.next_batch()
        assert 5 <= module.faults <= 8
        module.teardown("fit")


@pytest.mark.parametrize(
    "algorithm", [["algorithm=mipi"], ["algorithm=mipi_ppo", "datamodule.rollout_steps=7", "algorithm.minibatches=2"]]
)
def test_too_many_faults_end_a_run_with_a_checkpoint_from_which_it_resumes(
    algorithm: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *RUN, *algorithm, f"output_dir={tmp_path}"]) == 1
    stderr = capfd.readouterr().err
    assert "the world failed in environment 0, step 2: entities[0, 0] must be finite, got nan" in stderr
    assert (
        "(datamodule.max_faults=12); the first failures are described above. A checkpoint was written; resume" in stderr
    )
    assert "diverged" not in stderr
    assert "Traceback" not in stderr
    (folder,) = tmp_path.glob("*__*/*")
    newest = CheckpointFolder(folder).newest_whole(pytest.fail)
    assert newest is not None
    state = torch.load(newest, weights_only=True)
    before = next(value for name, value in state.items() if "DataModule" in name)["cut_short"]
    assert before > 6, "the checkpoint is that of the last update"
    parameters = state["state_dict"].values()
    assert all(parameter.isfinite().all() for parameter in parameters)
    assert main(["resume", str(folder)]) == 1, "after as many more faults"
    later = torch.load(CheckpointFolder(folder).newest_whole(pytest.fail) or "", weights_only=True)
    assert next(value for name, value in later.items() if "DataModule" in name)["cut_short"] > before + 6


def test_few_faults_are_counted_in_the_results(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *RUN, "datamodule.max_faults=1000", "total_frames=120", f"output_dir={tmp_path}"]) == 0
    captured = capfd.readouterr()
    assert "episodes cut short by faults of the world" in captured.out
    (results,) = tmp_path.glob("*__*/*/results.json")
    assert json.loads(results.read_text())["cut_short"] > 0
