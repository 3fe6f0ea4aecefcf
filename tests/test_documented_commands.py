"""Every command in README.md is run (with debug=tiny, so that it ends), and every make target that it names exists."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mipi_pl.cli import main

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = sorted(
    {
        line.split("  #")[0].strip()
        for document in DOCUMENTS
        for block in re.findall(r"```bash\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
        for line in block.splitlines()
        if line.startswith(("mipi ", "make "))
    }
)
TRAIN = [command for command in COMMANDS if command.startswith("mipi train")]
LIST = [command for command in COMMANDS if command.startswith("mipi compositions")]
EVAL = [command for command in COMMANDS if command.startswith("mipi eval")]
WATCH = [command for command in COMMANDS if command.startswith("mipi watch")]
MAKE = [command for command in COMMANDS if command.startswith("make ")]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a finished run in outputs/latest, as the documents assume."""
    folder = tmp_path_factory.mktemp("workplace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WANDB_MODE", "offline")
        assert main(["train", "experiment=quickstart", "debug=tiny", "held_out.baselines=[]"]) == 0
        yield folder


@pytest.mark.parametrize("command", TRAIN)
def test_documented_training_runs(command: str, workplace: Path) -> None:
    assert workplace.is_dir()
    arguments = shlex.split(command)[1:]
    # The last of equal keys counts, so a documented budget is cut as well; scripted policies are tested elsewhere.
    short = [] if "experiment=matrix_game" in arguments else ["env.episode_limit=12"]
    small = ["debug=tiny", "total_frames=20", "held_out.baselines=[]", "output_dir=documented", *short]
    assert main([*arguments, *small]) == 0


@pytest.mark.parametrize("command", LIST)
def test_documented_lists_of_compositions_are_printed(command: str) -> None:
    assert main(shlex.split(command)[1:]) == 0


@pytest.mark.parametrize("command", EVAL)
def test_documented_evaluation_runs(command: str, workplace: Path) -> None:
    assert workplace.is_dir()
    arguments = shlex.split(command)[1:]
    small = [] if "--help" in arguments else ["held_out.episodes=3"]
    assert main([*arguments, *small]) == 0


@pytest.mark.parametrize("command", WATCH)
def test_documented_watching_runs(command: str, workplace: Path) -> None:
    assert workplace.is_dir()
    arguments = shlex.split(command)[1:]
    small = [] if "--help" in arguments else ["--episodes", "1", "env.episode_limit=12"]
    assert main([*arguments, *small]) == 0


@pytest.mark.parametrize("command", MAKE)
def test_documented_make_targets_exist(command: str) -> None:
    done = subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_documents_name_commands() -> None:
    assert len(TRAIN) >= 5
    assert len(EVAL) >= 2
    assert len(WATCH) >= 2
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
