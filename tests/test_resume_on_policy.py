"""A killed and resumed on-policy run equals an uninterrupted one bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from crash import Crash, train_to_the_end
from run_content import content, differences

from mipi_pl.storage.checkpoints import CheckpointFolder

MATRIX = [
    "env=matrix_game",
    "datamodule.rollout_steps=1",
    "held_out.team_sizes=[]",
    "+held_out.worlds.BB.team_compositions=[BB]",
]
BATTLE = ["env=marines", "env.enemy_delta=-1", "env.episode_limit=12", "datamodule.rollout_steps=5"]
"""Episodes are cut: they are longer than a rollout."""
SMALL = [
    "debug=tiny",
    "algorithm.agent={width: 8, heads: 2, hidden: 8}",
    "algorithm.minibatches=2",
    "callbacks.checkpointing.every_frames=16",
    "callbacks.generalization.every_frames=60",
    "+callbacks.crash._target_=crash.Crash",
    "datamodule.updates_per_epoch=8",
    "held_out.baselines=[]",
    "picture._target_=crash.no_picture",
]


pytestmark = [pytest.mark.usefixtures("no_crash_is_left"), pytest.mark.slow]


def train(root: Path, *overrides: str) -> Path:
    """To the end, however often it takes; the run folder."""
    return train_to_the_end(root, *overrides, *SMALL)


# Epochs have 8 rollouts: at the end of the second, right after it, and in its middle.
@pytest.mark.parametrize(
    ("chosen", "crashes"),
    [
        (["algorithm=mappo", *MATRIX, "total_frames=60"], [16, 25]),
        (["algorithm=mipi_ppo", *BATTLE, "algorithm.critic.recurrent=true", "total_frames=140"], [11]),
    ],
    ids=["matrix_game", "battle"],
)
def test_rollouts_go_on_bit_for_bit(chosen: list[str], crashes: list[int], tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", *chosen)
    Crash.at = crashes
    broken = train(tmp_path / "broken", *chosen)
    assert Crash.at == []
    assert differences(content(whole), content(broken)) == []
    assert len(json.loads((broken / "results.json").read_text())["resumed_at"]) == len(crashes)


def test_a_checkpoint_holds_what_is_under_way_and_needs_no_other_file(tmp_path: Path) -> None:
    folder = train(tmp_path, "algorithm=mappo", *MATRIX, "total_frames=20")
    (entry, *_) = CheckpointFolder(folder).entries()
    assert entry.needs == {}
    saved = torch.load(folder / "checkpoints" / entry.file, weights_only=True)
    assert {"observation", "assembler", "environment", "actor"} <= saved["OnPolicyDataModule"].keys()
    assert saved["rollout_memory"].keys() == {"policy"}
