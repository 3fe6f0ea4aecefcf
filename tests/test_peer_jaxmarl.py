"""The comparison with JaxMARL, with a stand-in for its checkout."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPT = BENCHMARKS / "peer_jaxmarl.py"
SETTINGS = """\
"NUM_ENVS": 4
"NUM_STEPS": 8
"TOTAL_TIMESTEPS": 1e7
"FC_DIM_SIZE": 128
"GRU_HIDDEN_DIM": 128
"SEED": 0
"MAP_NAME": "2s3z"
"WANDB_MODE": "disabled"
"ENTITY": ${oc.env:WANDB_ENTITY}
"""
MODULE = """\
import wandb

class ScannedRNN:
    @staticmethod
    def initialize_carry(batch_size, hidden_size):
        return [[0.0] * hidden_size] * batch_size

def make_train(config):
    def train(key):
        assert len(ScannedRNN.initialize_carry(2, 128)[1]) == config["GRU_HIDDEN_DIM"] == config["FC_DIM_SIZE"]
        for update in range(UPDATES):
            won = float("nan") if update == 0 else 0.25 * min(update, 3)
            wandb.log({"win_rate": won, "env_step": update * 32})
    return train
"""
JAX = """\
from types import SimpleNamespace

__version__ = "stand-in"
random = SimpleNamespace(PRNGKey=lambda seed: seed)
block_until_ready = lambda result: result

def jit(function):
    return SimpleNamespace(lower=lambda key: SimpleNamespace(compile=lambda: function))
"""


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(BENCHMARKS / "peers"), *sys.path])
        names = ("loop_recorder", "loop_tables", "loop_jaxmarl")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


def checkout(folder: Path, updates: int = 1000) -> Path:
    """Write a stand-in for JaxMARL's checkout, with a stand-in for JAX."""
    for name, settings in (("ippo_rnn_smax", "ippo_rnn_smax"), ("mappo_rnn_smax", "mappo_homogenous_rnn_smax")):
        base = folder / "baselines" / name.partition("_")[0].upper()
        (base / "config").mkdir(parents=True)
        (base / f"{name}.py").write_text(f"UPDATES = {updates}\n{MODULE}")
        (base / "config" / f"{settings}.yaml").write_text(SETTINGS)
    (folder / "jax.py").write_text(JAX)
    return folder


def compare(what: str, peer: Path, *more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, what, "--jaxmarl", peer, "--jaxmarl-python", sys.executable, *more]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_quick_compares_our_loop_with_that_of_the_checkout(tmp_path: Path) -> None:
    done = compare("speed", checkout(tmp_path / "peer"), "--quick", "--output", tmp_path / "results.json")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "2s3z, speed on 1 core"
    assert [line.split(" |")[0] for line in lines[4:-1]] == ["| MIPI-PPO, width 64", "| JaxMARL IPPO, width 64"]
    assert set(json.loads(lines[-1])) == {f"{side}_2s3z_frames_per_cpu_s" for side in ("mipi_ppo", "jaxmarl_ippo_64")}
    results = json.loads((tmp_path / "results.json").read_text())["speed_threads_1"]
    ours, peer = results["rows"]
    assert (ours["updates"], peer["updates"]) == (1, 1)
    assert [frames for _, frames, _ in ours["curve"]] == [64 * 64, 2 * 64 * 64]  # the first is the warm-up
    assert [update[1:] for update in peer["curve"]] == [[32, None], [64, 0.25]]
    assert ours["peak_memory_mib"] > 100
    assert results["machine"]["processor"]
    settings = results["sides"]["mipi_ppo"]["settings"]
    assert settings["network"]["width"] == settings["algorithm"]["agent"]["hidden"] == 64
    settings = results["sides"]["jaxmarl_ippo_64"]["settings"]
    assert (settings["FC_DIM_SIZE"], settings["NUM_ENVS"], settings["MAP_NAME"]) == (64, 4, "2s3z")
    assert results["sides"]["jaxmarl_ippo_64"]["versions"] == {"jax": "stand-in"}


def test_learning_keeps_the_results_of_speed_and_trains_every_side_once(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    output.write_text('{"speed_threads_2": {"rows": []}}')
    sides = ("jaxmarl_ippo_128", "jaxmarl_mappo_64")
    chosen = ["--sides", *sides, "--maps", "3s5z", "--seconds", 0, "--output", output]
    done = compare("learning", checkout(tmp_path / "peer"), *chosen)
    assert done.returncode == 0, done.stderr
    titles = [line for line in done.stdout.splitlines() if line.startswith("3s5z")]
    assert titles == ["3s5z, win rate in its own world", "3s5z, speed on 1 core"]
    results = json.loads(output.read_text())
    assert results["speed_threads_2"] == {"rows": []}
    rows = results["learning_0_s"]["rows"]
    assert [(row["map"], row["side"], row["updates"]) for row in rows] == [("3s5z", side, 1) for side in sides]


def test_a_training_that_ends_before_its_turns_is_an_error(tmp_path: Path) -> None:
    chosen = ["--sides", "jaxmarl_ippo_64", "--maps", "2s3z", "--threads", 1, "--seconds", 0, "--repeats", 2]
    done = compare("speed", checkout(tmp_path / "peer", updates=2), *chosen, "--output", tmp_path / "results.json")
    assert done.returncode != 0
    assert "the 10,000,000 frames ended before the turns: choose fewer --seconds" in done.stderr
    assert not (tmp_path / "results.json").exists()


def test_a_folder_that_is_no_checkout_is_an_error_that_says_so(scripts: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"--jaxmarl must be a checkout of JaxMARL, got .*ippo_rnn_smax\.py"):
        scripts.loop_jaxmarl.check(tmp_path, "ippo")


def test_a_turn_lasts_until_its_seconds_are_over(scripts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(s=0.0, cpu_s=0.0)
    clock = SimpleNamespace(perf_counter=lambda: now.s, process_time=lambda: now.cpu_s)
    output = io.StringIO()
    monkeypatch.setattr(scripts.loop_recorder, "time", clock)
    monkeypatch.setattr(sys, "stdin", io.StringIO("go\n"))
    recorder = scripts.loop_recorder.LoopRecorder(output, 2.5, {"settings": {}})
    recorder.begin(build_s=7.04)
    answers = []
    for _ in range(6):
        now.s, now.cpu_s = now.s + 1.0, now.cpu_s + 0.5
        answers.append(recorder.update(10, 0.5))
    assert answers == [True] * 5 + [False]
    first, second = map(json.loads, output.getvalue().splitlines())
    for turn in (first, second):
        assert (turn["seconds"], turn["cpu_seconds"], turn["frames"], turn["updates"]) == (3.0, 1.5, 30, 3)
        assert turn["build_s"] == 7.0
    assert second["curve"] == [[float(n), 10 * n, 0.5] for n in range(1, 7)]


def test_win_rates_are_means_over_the_last_rollout_of_jaxmarl(scripts: SimpleNamespace) -> None:
    tables = scripts.loop_tables
    ours = [(1.0 * n, 4096 * n, 0.1 * n if n > 1 else None) for n in range(1, 9)]
    assert tables.win_rate(ours, 0.5) is None
    assert tables.win_rate(ours, 1.0) is None
    assert tables.win_rate(ours, 4.9) == pytest.approx(0.3)  # of updates 2, 3 and 4; no episode ended in the first
    assert tables.win_rate(ours, 8.0) == pytest.approx(0.65)  # of updates 5 to 8
    assert tables.first_time(ours, 0.5) == 7.0
    assert tables.first_time(ours, 0.8) is None
    peer = [(10.0, 16_384, 0.2), (20.0, 32_768, 0.6)]
    assert tables.win_rate(peer, 25.0) == 0.6
    assert tables.first_time(peer, 0.5) == 20.0


def test_the_table_of_learning_has_a_dash_after_the_end_of_a_side(scripts: SimpleNamespace) -> None:
    rows = [
        {"map": "3s5z", "side": "mappo", "build_s": 1.0, "curve": [(9.0, 16_384, 0.9)]},
        {"map": "3s5z", "side": "jaxmarl_mappo_64", "build_s": 20.0, "curve": [(21.0, 16_384, 0.1)]},
    ]
    lines = scripts.loop_tables.learning_table(rows).splitlines()
    assert lines[0] == "| side | at 10 s | at 20 s | at the end | s to 0.5 | s to 0.8 | frames | build, s |"
    assert lines[2] == "| MAPPO, width 64 | - | - | 0.90 | 9 | 9 | 16,384 | 1.0 |"
    assert lines[3] == "| JaxMARL MAPPO, width 64 | - | - | 0.10 | - | - | 16,384 | 20.0 |"
