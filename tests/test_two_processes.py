"""Whole runs on two processes, equal by torchrun and by Slurm with a stop and a resumption by Lightning."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from run_content import content, differences

from mipi_pl.cli import main
from mipi_pl.storage.checkpoints import CheckpointFolder

ROOT = Path(__file__).resolve().parent.parent
REFERENCES = ROOT / "tests" / "references"
MIPI = [sys.executable, "-m", "mipi_pl"]
TORCHRUN = ROOT / "examples" / "torchrun.sh"
SLURM = ROOT / "examples" / "slurm" / "train.sbatch"
TINY = [
    "experiment=matrix_game",
    "debug=tiny",
    "total_frames=300",
    "picture._target_=mipi_pl.evaluation.figures.draw_results",
    "~picture.payoffs",
    "~picture.trained",
    "~picture.alpha",
    "env._target_=script_world.RaggedWorld",
    "~env.payoffs",
    "~env.team_compositions",
    "~held_out.worlds.BB",
    "+held_out.worlds.again={longest: 5}",
    "algorithm.target=sampled",
    "algorithm.imaginary_weight=0.5",
    "algorithm.marginal_teams=imaginary",
    "datamodule.updates_per_episode=0.5",
    "datamodule.capacity=10",
    "datamodule.steps_per_collection=2",
    "datamodule.updates_per_epoch=8",
    "callbacks.checkpointing.every_frames=60",
    "callbacks.generalization.every_frames=100",
    "callbacks.target_update.every_episodes=10",
    "+callbacks.collection.every_updates=3",
    "trainer.log_every_n_steps=2",
    "trainer.accelerator=cpu",
    "threads=1",  # rounding depends on their number
]
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so asking for one is no mistake")
STOP = ["+callbacks.stop={_target_: crash.Stop, rank: 1, update: 9}"]


class Run(NamedTuple):
    """A run folder, what its processes were at the end, and what was said."""

    folder: Path
    ends: list[dict[str, Any]]
    said: list[str]


def run(command: list[str], code: int = 0, **variables: str) -> str:
    paths = {"PYTHONPATH": f"{REFERENCES}:{ROOT}", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment = {**os.environ, **paths, "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def fingerprint(root: Path) -> list[str]:
    return ["+callbacks.fingerprint._target_=crash.Fingerprint", f"+callbacks.fingerprint.folder={root}"]


def ends(root: Path) -> list[dict[str, Any]]:
    return [json.loads((root / f"rank_{rank}.json").read_text()) for rank in (0, 1)]


def slurm(root: Path) -> dict[str, str]:
    """What a job of one machine with two tasks finds, with stand-ins for Slurm's commands."""
    tools = root / "tools"
    tools.mkdir()
    for name in ("srun", "scontrol"):
        shutil.copy(REFERENCES / name, tools)
    mipi = tools / "mipi"
    mipi.write_text(f'#!/bin/bash\nexec {sys.executable} -m mipi_pl "$@"\n')
    mipi.chmod(0o755)
    job = {"JOB_ID": "4711", "JOB_NAME": "mipi", "NTASKS": "2", "NTASKS_PER_NODE": "2", "NNODES": "1"}
    job |= {"SUBMIT_DIR": str(root), "CPUS_PER_TASK": "1", "NODELIST": "127.0.0.1"}
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    port = str(find_free_network_port())
    return {"PATH": path, "MASTER_PORT": port, **{f"SLURM_{name}": value for name, value in job.items()}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Not interrupted; its processes are started by torchrun."""
    root = tmp_path_factory.mktemp("whole")
    said = run([str(TORCHRUN), *TINY, "logger=wandb", *fingerprint(root), f"output_dir={root / 'outputs'}"])
    (folder,) = (root / "outputs").glob("*__*/*")
    return Run(folder, ends(root), [said])


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A job of Slurm; its second process is asked to terminate after update 9. Then Lightning starts both to resume."""
    root = tmp_path_factory.mktemp("broken")
    said = run([str(SLURM), *TINY, *STOP, *fingerprint(root)], 130, **slurm(root))
    assert (root / "scontrol.txt").read_text() == "requeue 4711\n"
    (folder,) = (root / "outputs" / "job_4711").glob("*__*/*")
    assert not (folder / "results.json").exists()
    assert CheckpointFolder(folder).entries()[-1].file == "update_000000009.ckpt"
    resumed = run([*MIPI, "resume", str(folder)])
    return Run(folder, ends(root), [said, resumed])


def test_the_script_for_torchrun_trains_on_any_device_and_resumes(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/bash\necho "$@"\n')
    python.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert "-m mipi_pl train trainer.devices=4 trainer.num_nodes=1 seed=1" in run(
        [str(TORCHRUN), "seed=1"], PATH=path, PROCESSES="4"
    )
    assert "accelerator" not in run([str(TORCHRUN)], PATH=path)
    assert (
        run([str(TORCHRUN), "resume", "outputs/latest"], PATH=path).strip().endswith("-m mipi_pl resume outputs/latest")
    )


@pytest.mark.slow
def test_weights_and_biases_gets_one_run_of_two_processes(whole: Run) -> None:
    assert len(list((whole.folder / "wandb").glob("offline-run-*"))) == 1
    assert whole.said[0].count("logged offline") == 1


@pytest.mark.slow
def test_all_processes_have_one_policy_from_episodes_of_their_own(whole: Run) -> None:
    first, second = whole.ends
    assert first["updates"] == second["updates"] > 15
    assert first["networks"] == second["networks"]
    assert first["seen"] != second["seen"]
    assert first["stored"] != second["stored"], "episodes are of different lengths"
    assert first["frames"] == second["frames"] == json.loads((whole.folder / "results.json").read_text())["frames"]
    assert first["episodes"] == second["episodes"] == first["stored"] + second["stored"]


@pytest.mark.slow
def test_a_run_is_recorded_once(whole: Run) -> None:
    with (whole.folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for column in ("train/loss/td", "eval/win_rate_again", "collect/length"):
        steps = [row["step"] for row in rows if row[column]]
        assert len(steps) == len(set(steps)) > 1, column
    assert len(list((whole.folder / "checkpoints").glob("update_*.ckpt"))) == 2
    (said,) = whole.said
    assert said.count("(as trained) ") == 2, "the table at the start and at the end"


@pytest.mark.slow
def test_a_run_that_was_stopped_and_resumed_is_the_whole_run_bit_for_bit(whole: Run, broken: Run) -> None:
    stopped, resumed = broken.said
    assert stopped.count("resume with: mipi resume") == 1
    assert resumed.count("resumed from update_000000009.ckpt") == 1
    assert broken.ends == whole.ends
    assert differences(content(whole.folder), content(broken.folder)) == []


@pytest.mark.slow
def test_a_checkpoint_names_the_episodes_of_every_process(whole: Run) -> None:
    folder = CheckpointFolder(whole.folder)
    newest = folder.entries()[-1]
    assert {name.split("/")[1] for name in newest.needs if name.count("/") == 2} == {"rank_1"}
    assert {name.count("/") for name in newest.needs} == {1, 2}
    kept = {path.relative_to(folder.path).as_posix() for path in (folder.path / "replay").rglob("*.pt")}
    assert kept == {name for entry in folder.entries() for name in entry.needs}, "what nobody needs is removed"
    said: list[str] = []
    assert folder.newest_whole(said.append) == folder.path / newest.file
    assert said == []


@pytest.mark.slow
def test_the_untrained_policy_is_judged_as_by_one_process(whole: Run, tmp_path: Path) -> None:
    few = (
        "total_frames=8",
        "datamodule.warmup_episodes=1",
        "datamodule.batch_size=1",
        "datamodule.updates_per_episode=1",
    )
    assert main(["train", *TINY, *few, f"output_dir={tmp_path}"]) == 0
    (single,) = tmp_path.glob("*__*/*/results.json")
    assert json.loads(single.read_text())["before"] == json.loads((whole.folder / "results.json").read_text())["before"]


@pytest.mark.slow
def test_as_many_processes_are_needed_to_go_on(
    broken: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from mipi_pl.run import resume

    monkeypatch.setattr(resume, "connect", lambda _: None)
    (broken.folder / "results.json").rename(tmp_path / "results.json")
    try:
        assert main(["resume", str(broken.folder)]) == 2
    finally:
        (tmp_path / "results.json").rename(broken.folder / "results.json")
    assert "was trained by 2 processes" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("held_out.baselines=[nope]", "held_out.baselines: this world has no scripted policies, got 'nope'"),
        ("algorithm.init_from=quickstart", "algorithm.init_from: the policy in quickstart does not fit"),
        ("algorithm.alpha=-1", "algorithm: algorithm.alpha must be at least 0, got -1"),
    ],
)
def test_a_mistake_that_both_processes_find_is_printed_once(override: str, message: str, tmp_path: Path) -> None:
    command = [*MIPI, "train", *TINY, "trainer.devices=2", override, f"output_dir={tmp_path}"]
    said = [line for line in run(command, code=2).splitlines() if line.startswith("mipi")]
    assert len(said) == 1, said
    assert said[0].startswith(f"mipi: {message}")


def test_a_job_that_slurm_starts_again_resumes_its_run(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "job_4711" / "latest" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "index.json").write_text("{}")
    variables = slurm(tmp_path)
    (tmp_path / "tools" / "mipi").write_text('#!/bin/bash\necho "$SLURM_PROCID: $@"\n')
    said = run([str(SLURM), "seed=1"], **variables)
    assert sorted(said.split("\n")[:2]) == [f"{task}: resume {folder.parent}" for task in (0, 1)]
    assert not (tmp_path / "scontrol.txt").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.strategy=fsdp"], "trainer.strategy=fsdp is not supported"),
        (["trainer.strategy=ddp_spawn", "trainer.devices=2"], "supported: auto, ddp,"),
        (["~trainer.strategy", "+trainer.strategy={_target_: lightning.pytorch.strategies.DDPStrategy, "
          "start_method: fork}", "trainer.devices=2"], "DDPStrategy is not supported"),
        (["trainer.devices=0"], "asked for trainer.accelerator=cpu, trainer.devices=0"),
        (["trainer.devices=[7]"], "asked for trainer.accelerator=cpu, trainer.devices=[7]"),
        (["trainer.num_nodes=0"], "trainer.num_nodes=0"),
        pytest.param(["trainer.accelerator=gpu"], "asked for trainer.accelerator=gpu, trainer.devices=1", marks=NO_GPU),
        (["-m", "seed=0,1", "trainer.devices=2"], "start runs on several devices separately"),
    ],
)  # fmt: skip
def test_devices_and_strategies_that_do_not_fit_are_named(
    overrides: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *TINY, *overrides, f"output_dir={tmp_path}"]) == 2
    stderr = capfd.readouterr().err
    assert message in stderr
    assert "Traceback" not in stderr
    assert not list(tmp_path.glob("*__*"))


@pytest.mark.parametrize("launcher", ["torchrun", "slurm"])
def test_processes_that_do_not_fit_the_devices_are_counted(
    launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    variables = {"torchrun": {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "3"}, "slurm": {"SLURM_STEP_NUM_TASKS": "3"}}
    for name, value in variables[launcher].items():
        monkeypatch.setenv(name, value)
    assert main(["train", *TINY, f"output_dir={tmp_path}"]) == 2
    assert "3 processes were started, but trainer.devices x trainer.num_nodes is 1" in capfd.readouterr().err
