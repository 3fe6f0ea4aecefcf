"""The Python interface of `mipi_pl`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mipi_pl
from mipi_pl.envs.matrix import MatrixGame
from mipi_pl.evaluation.rollout import play
from mipi_pl.utils.errors import UserError


def test_a_run_is_trained_evaluated_and_its_policy_plays(tmp_path: Path) -> None:
    folder = mipi_pl.train("experiment=matrix_game", "debug=tiny", f"output_dir={tmp_path}")
    checkpoint = folder / "checkpoints" / "last.ckpt"
    evaluated = mipi_pl.evaluate(checkpoint, "held_out.episodes=4", f"output_dir={tmp_path / 'eval'}")
    assert json.loads((evaluated / "results.json").read_text())["training"]["episodes"] == 4
    policy = mipi_pl.load_policy(checkpoint)
    env = MatrixGame({"AB": [[1.0, 0.0], [0.0, 0.0]]}, ["AB"], num_envs=3)
    assert len(play(env, policy)) == 3


def test_a_policy_that_is_not_greedy_draws(tmp_path: Path) -> None:
    drawn = [mipi_pl.load_policy("sz", greedy=False, seed=seed).generator.initial_seed() for seed in (1, 2)]
    assert drawn == [1, 2]
    assert not mipi_pl.load_policy("sz", greedy=False).greedy


def test_mistakes_are_refused_as_on_the_command_line() -> None:
    with pytest.raises(UserError, match="no checkpoint at nowhere"):
        mipi_pl.load_policy("nowhere")
    with pytest.raises(UserError, match="env can be"):
        mipi_pl.train("env=nowhere")


def test_importing_the_package_does_not_import_torch() -> None:
    program = "import sys, mipi_pl; assert mipi_pl.__version__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert set(mipi_pl.__all__) - {"__version__"} == {name for name in dir(mipi_pl) if hasattr(mipi_pl, name)} - {
        "__version__"
    }
    assert issubclass(mipi_pl.MIPI, torch.nn.Module)
    with pytest.raises(AttributeError, match="no attribute 'nobody'"):
        mipi_pl.nobody  # noqa: B018
