"""Every command in the documents is run, shortened to end within seconds, or listed with the place where it is run.

For a new command: a line in `SHORTENED` if it needs more words to end soon, one in `ELSEWHERE` if it cannot be run here
at all, and nothing if neither is so.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mipi_pl.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LATEST = Path("outputs/latest")


def shorter_training(words: list[str]) -> list[str]:
    # The last of equal keys counts, so a documented budget is cut as well. Scripted policies and pictures have tests of
    # their own.
    own = "experiment=matrix_game" in words or "--config-dir" in words
    short = [] if own else ["env.episode_limit=12"]
    quick = ["held_out.baselines=[]", "picture._target_=crash.no_picture"]
    return ["debug=tiny", "total_frames=20", *quick, "output_dir=documented", *short]


def two_jobs(words: list[str]) -> list[str]:
    """Words of a multirun with two values of its first sweep and one of the others."""
    left = 2
    shorter = []
    for word in words:
        key, equals, values = word.partition("=")
        if equals and "," in values and not values.startswith("["):
            word, left = f"{key}={','.join(values.split(',')[:left])}", 1
        shorter.append(word)
    return shorter


def interrupted_run(_: list[str]) -> list[str]:
    (LATEST / "results.json").unlink()
    return []


SHORTENED: dict[str, Callable[[list[str]], list[str]]] = {
    # command -> the words that are added to those in the documents; what it needs beside them may be done there
    "train": shorter_training,
    "eval": lambda words: [] if "--absolute" in words else ["held_out.episodes=3"],  # --absolute takes the run's
    "resume": interrupted_run,
    "watch": lambda _: ["--episodes", "1", "env.episode_limit=12"],
    "theory": lambda _: ["--instances", "12", "--output-dir", "theory"],
    "reproduce": lambda _: ["--dry-run"],
}
ELSEWHERE = {
    # line of the documents -> the file in which it is run or checked instead, and why not here
    "OMP_NUM_THREADS=1 mipi train experiment=quickstart algorithm=mipi trainer.accelerator=cpu trainer.devices=2": (
        "tests/test_two_processes.py",
        "starts a second process with the command line of this one, which is pytest's",
    ),
    "OMP_NUM_THREADS=1 mipi resume outputs/latest": ("tests/test_two_processes.py", "as the line above it"),
    "mipi train experiment=quickstart trainer.devices=2": ("tests/test_two_processes.py", "starts a second process"),
    "examples/torchrun.sh experiment=quickstart algorithm=mipi debug=tiny": (
        "tests/test_two_processes.py",
        "two processes",
    ),
    "PROCESSES=4 NODES=2 NODE=0 HEAD=10.0.0.1 examples/torchrun.sh experiment=quickstart algorithm=mipi": (
        "examples/torchrun.sh",
        "needs two machines",
    ),
    "sbatch examples/slurm/train.sbatch experiment=quickstart algorithm=mipi seed=1": (
        "examples/slurm/train.sbatch",
        "needs Slurm",
    ),
    "sbatch --gpus-per-node=2 examples/slurm/train.sbatch experiment=quickstart seed=1": (
        "examples/slurm/train.sbatch",
        "needs Slurm and GPUs",
    ),
    "python benchmarks/learning.py outputs --minutes 1 3 5 10 15": (
        "tests/reporting/test_learning_table.py",
        "needs runs that have taken minutes",
    ),
    "python benchmarks/larger_teams.py outputs --table larger_teams.csv": (
        "benchmarks/larger_teams.py",
        "needs runs of minutes",
    ),
    "python benchmarks/dropped_entities.py outputs/reproduce/cpu/sz-mipi_ppo-*/*/*/checkpoints/last.ckpt": (
        "tests/evaluation/test_dropped_entities.py",
        "needs runs of minutes",
    ),
    "python benchmarks/price.py outputs/reproduce/cpu": ("tests/reporting/test_price.py", "needs runs of minutes"),
    "python benchmarks/price_parts.py outputs/reproduce/cpu --sizes 3 5 8 --frames 6000": (
        "tests/reporting/test_price.py",
        "needs runs of minutes",
    ),
    "mipi theory": (
        "tests/theory/test_statements.py",
        "checks 100 decision processes for half a minute; the test checks 20",
    ),
    "mipi theory --instances 300 --seed 1000": ("tests/theory/test_statements.py", "as the line above it"),
    "python benchmarks/scaling.py": ("benchmarks/scaling.py", "minutes of measurement"),
    "python benchmarks/growth.py": ("benchmarks/growth.py", "minutes of measurement"),
    "python benchmarks/loop_profile.py": ("benchmarks/loop_profile.py", "minutes of measurement"),
    "python benchmarks/lost_processes.py": ("benchmarks/lost_processes.py", "minutes of waiting"),
    "python benchmarks/odd_environments.py": ("tests/test_odd_environments.py", "minutes of runs"),
    "pip install 'mipi-pl[dashboard]'": ("tests/test_packaging.py", "the tests install nothing"),
    "mipi train -m experiment=quickstart logger=wandb algorithm.alpha=0.01,0.02,0.04 seed=0,1,2": (
        "tests/test_dashboard.py",
        "nine runs: all are composed and checked there, and another multirun is run here",
    ),
    "wandb login": ("tests/test_wandb_access.py", "asks for a key of W&B"),
    "wandb sweep examples/sweep.yaml": ("tests/test_dashboard.py", "needs a key of W&B"),
    "PYTHONPATH=. mipi train experiment=quickstart algorithm=aqmix algorithm._target_=plain_q.PlainQLearning": (
        "tests/test_documentation.py",
        "needs the file that the document shows",
    ),
    "mipi resume outputs/latest total_frames=2_000_000": ("tests/run/test_extension.py", "two million frames"),
    "mipi train experiment=quickstart algorithm.init_from=quickstart env.enemy_delta=1": (
        "tests/run/test_warm_start.py",
        "warm starts are tested there, in a smaller world",
    ),
    (
        "mipi train experiment=quickstart 'datamodule.curriculum=[{frames: 0, team_sizes: [3]}, {frames: 300_000, "
        "team_sizes: [3, 4, 5]}]'"
    ): ("tests/datamodules/test_curriculum.py", "its stages are longer than a shortened run"),
    "mipi export outputs/latest/checkpoints/last.ckpt --output policy.pt2": (
        "tests/run/test_deployment.py",
        "an export takes seconds, and its program is played there",
    ),
    "mipi export outputs/latest/checkpoints/last.ckpt --output policy.onnx": (
        "tests/run/test_deployment.py",
        "needs the extra onnx",
    ),
    "source .venv/bin/activate": ("Makefile", "the shell's own"),
    "tensorboard --logdir outputs": ("tests/test_configs.py", "serves until it is stopped"),
}


def documented() -> list[str]:
    """The lines of all bash blocks, without comments."""
    texts = [document.read_text(encoding="utf-8") for document in DOCUMENTS]
    blocks = [block for text in texts for block in re.findall(r"```bash[^\n]*\n(.*?)```", text, re.DOTALL)]
    lines = {line.split("  #")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()}
    return sorted(line for line in lines if line and not line.startswith("#"))


LINES = documented()
MIPI = [line for line in LINES if line.startswith("mipi ") and line not in ELSEWHERE]
MAKE = [line for line in LINES if line.startswith("make ") and line not in ELSEWHERE]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a finished run in outputs/latest, as the documents assume."""
    folder = tmp_path_factory.mktemp("workplace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WANDB_MODE", "offline")
        patch.setattr(sys, "path", [*sys.path])
        (folder / "examples").symlink_to(ROOT / "examples")
        assert main(["train", "experiment=quickstart", "debug=tiny", "held_out.baselines=[]"]) == 0
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("line", MIPI)
def test_documented_command_runs(line: str, workplace: Path) -> None:
    assert workplace.is_dir()
    command, *words = shlex.split(line)[1:]
    shorten = SHORTENED.get(command) if "--help" not in words else None
    words = two_jobs(words) if "-m" in words else words
    assert main([command, *words, *(shorten(words) if shorten else [])]) == 0


@pytest.mark.parametrize("line", MAKE)
def test_documented_make_targets_exist(line: str) -> None:
    done = subprocess.run([*shlex.split(line), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_line_is_run_or_it_is_said_where() -> None:
    assert [line for line in LINES if line not in {*MIPI, *MAKE, *ELSEWHERE}] == []
    assert [line for line in ELSEWHERE if line not in LINES] == [], "no longer documented"
    assert [where for where, _ in ELSEWHERE.values() if not (ROOT / where).is_file()] == []


def test_every_command_is_documented_with_an_example() -> None:
    assert [command for command in COMMANDS if not any(line.startswith(f"mipi {command}") for line in MIPI)] == []
    assert {"make train", "make test"} <= set(MAKE)


def test_make_help_lists_every_target_with_a_line() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: (\S+)", makefile, re.MULTILINE))
    command = ["make", "--no-print-directory", "help"]  # as a child of `make check` it would tell where it is
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert targets == {line.split()[1] for line in listed.splitlines()}


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"
