"""Damaged files of a run are refused in one line or survived; none is used silently."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import REFUSED, SURVIVED, Damage, Judge, base_runs, damages
from run_content import content, differences
from safetensors import safe_open
from safetensors.torch import save_file

from mipi_pl.cli import main
from mipi_pl.run.api import load_policy
from mipi_pl.storage import sealed, weights
from mipi_pl.storage.checkpoint_file import read_checkpoint
from mipi_pl.storage.checkpoints import CheckpointFolder
from mipi_pl.storage.files import DamagedError
from mipi_pl.utils.errors import UserError

Runs = tuple[Path, Path, Path]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A stopped run, the same run to its end, and its policy."""
    return base_runs(tmp_path_factory.mktemp("base"))


@pytest.fixture
def stopped(runs: Runs, tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs[0], tmp_path / "root" / "name" / "run"))


def index_of(folder: Path) -> Path:
    return folder / "checkpoints" / "index.json"


def flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 16
    path.write_bytes(data)


@pytest.mark.slow
def test_of_many_damaged_files_none_is_used_silently(runs: Runs, tmp_path: Path) -> None:
    stopped, finished, policy = runs
    judge = Judge(Path(shutil.copytree(stopped, tmp_path / "stopped")), finished, policy, tmp_path)
    verdicts = Counter(judge.judge(damage) for damage in islice(damages(judge.files, random.Random(0)), 60))
    assert verdicts[REFUSED] > 15
    assert verdicts[SURVIVED] > 10


def test_the_judge_finds_a_file_that_is_used_silently(runs: Runs, tmp_path: Path) -> None:
    stopped, finished, policy = runs
    judge = Judge(Path(shutil.copytree(stopped, tmp_path / "stopped")), finished, policy, tmp_path)
    saved = torch.load(judge.stopped / "checkpoints" / "last.ckpt", weights_only=True)
    next(iter(saved["state_dict"].values())).add_(1)
    torch.save(saved, tmp_path / "other.ckpt")
    other = Damage("other", judge.stopped / "checkpoints" / "last.ckpt", (tmp_path / "other.ckpt").read_bytes())
    with pytest.raises(AssertionError, match=r"last\.ckpt is read with other content"):
        judge.judge(other)


def entry_twice(path: Path) -> None:
    index = json.loads(path.read_text())
    index["checkpoints"].append(index["checkpoints"][-1])
    path.write_text(json.dumps(index))


def with_entry(key: str, value: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        index = json.loads(path.read_text())
        index["checkpoints"][-1][key] = value
        path.write_text(json.dumps(index))

    return change


@pytest.mark.parametrize(
    "damage",
    [
        entry_twice,
        with_entry("file", None),
        with_entry("file", "../../../elsewhere.ckpt"),
        with_entry("needs", ["episodes"]),
        with_entry("needs", {"../secret": "0" * 64}),
        with_entry("frames", "many"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text("{"),
        lambda path: path.write_text('{"format": 1, "checkpoints": {"file": 1}}'),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_bytes(b"\xff\0"),
        Path.unlink,
    ],
)
def test_a_damaged_index_is_rebuilt_from_the_checkpoints(damage: Callable[[Path], None], stopped: Path) -> None:
    folder = CheckpointFolder(stopped)
    before = folder.entries()
    damage(index_of(stopped))
    said: list[str] = []
    assert folder.newest_whole(said.append) == folder.path / before[-1].file
    (line,) = said
    assert "the index was rebuilt from the intact checkpoints" in line
    assert "\n" not in line
    folder.forget_after(before[-1].file)
    assert folder.entries() == before


@pytest.mark.slow
def test_a_run_with_a_damaged_index_resumes_to_the_same_end(
    runs: Runs, stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index_of(stopped).write_text("{")
    assert main(["runs", str(stopped)]) == 0
    assert main(["resume", str(stopped)]) == 0
    assert capfd.readouterr().out.count("the index was rebuilt") == 1
    assert differences(content(runs[1]), content(stopped)) == []


def test_a_checksum_in_the_index_that_is_wrong_costs_no_checkpoint_that_is_whole(stopped: Path) -> None:
    index = json.loads(index_of(stopped).read_text())
    for entry in index["checkpoints"]:
        entry["sha256"] = "0" * 64
    index_of(stopped).write_text(json.dumps(index))
    said: list[str] = []
    newest = CheckpointFolder(stopped).newest_whole(said.append)
    assert newest is not None
    assert "the index was rebuilt" in said[-1]
    CheckpointFolder(stopped).forget_after(newest.name)
    assert CheckpointFolder(stopped).newest_whole(pytest.fail) == newest


@pytest.mark.parametrize("name", ["metrics.csv", "evaluations.csv", "checkpoints/index.json", ".lock"])
def test_a_folder_in_place_of_a_file_is_refused_in_one_line(
    name: str, stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (stopped / name).unlink()
    (stopped / name).mkdir()
    assert main(["resume", str(stopped)]) == 2
    told = capfd.readouterr().err
    assert "cannot write" in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("place", [0.01, 0.3, 0.5, 0.7, 0.95])
def test_a_checkpoint_with_a_flipped_bit_is_refused_by_everything_that_opens_it(
    place: float, stopped: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = stopped / "checkpoints" / "last.ckpt"
    flip(path, place)
    output = tmp_path / "policy.safetensors"
    for command in (["export", str(path), "--output", str(output)], ["eval", str(path)], ["watch", str(path)]):
        assert main(command) == 2
        told = capfd.readouterr().err
        assert "damaged or not a checkpoint" in told
        assert len(told.splitlines()) == 1
    assert not output.exists()
    with pytest.raises(UserError, match="damaged or not a checkpoint"):
        load_policy(path)


def test_a_checkpoint_without_a_checksum_of_its_own_still_loads_and_is_checked(stopped: Path, tmp_path: Path) -> None:
    saved = torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)
    older = tmp_path / "older.ckpt"
    torch.save(saved, older)
    assert not sealed.is_sealed(older)
    assert differences(read_checkpoint(older)[0], read_checkpoint(stopped / "checkpoints" / "last.ckpt")[0]) == []
    flip(older, 0.5)
    torch.load(older, weights_only=True)  # PyTorch notices nothing
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(older)


def test_a_policy_with_a_flipped_bit_is_refused_and_one_without_a_checksum_loads(runs: Runs, tmp_path: Path) -> None:
    path = Path(shutil.copy(runs[2], tmp_path / "mine.safetensors"))
    state, about = weights.read(path)
    for place in (0.05, 0.5, 0.999):
        shutil.copy(runs[2], path)
        flip(path, place)
        with pytest.raises(UserError, match="is damaged"):
            weights.read(path)
    older = tmp_path / "older.safetensors"
    with safe_open(runs[2], "pt") as opened:
        save_file(state, older, {"mipi": opened.metadata()["mipi"]})
    assert differences(weights.read(older), (state, about)) == []


def test_readable_files_of_a_finished_run_that_were_changed_are_named(
    runs: Runs, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(runs[1], tmp_path / "name" / "run"))
    results = json.loads((folder / "results.json").read_text())
    results["training"]["return"] = 100.0
    (folder / "results.json").write_text(json.dumps(results))
    with (folder / "evaluations.csv").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert main(["runs", str(folder)]) == 0
    told = capfd.readouterr().out
    assert "results.json was changed after the run: its checksum differs" in told
    assert "evaluations.csv was changed after the run" in told
    assert "damaged" in told


@pytest.mark.parametrize("name", ["last.ckpt", "update_000000026.ckpt"])
def test_an_intact_checkpoint_under_the_name_of_a_newer_one_is_refused(
    name: str, stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = CheckpointFolder(stopped)
    older, newest = folder.entries()
    assert newest.file == "update_000000026.ckpt"
    (folder.path / name).unlink()  # a hard link
    shutil.copy(folder.path / older.file, folder.path / name)
    assert main(["eval", str(folder.path / name)]) == 2
    told = capfd.readouterr().err
    assert f"it was written after update {older.updates}" in told
    assert len(told.splitlines()) == 1
    said: list[str] = []
    chosen = folder.newest_whole(said.append)
    assert chosen == folder.path / (newest.file if name == "last.ckpt" else older.file)
    assert len(said) == (name != "last.ckpt")


def test_content_that_no_run_has_written_is_refused(stopped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = stopped / "checkpoints" / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    for changed in (
        {**saved, "state_dict": None},
        {**saved, "state_dict": {"a": 1}},
        {**saved, "mipi": {**saved["mipi"], "config": None}},
        {**saved, "mipi": {**saved["mipi"], "frames": "many"}},
        [saved],
    ):
        sealed.save(path, changed)
        assert main(["eval", str(path)]) == 2
        assert "was not written by `mipi train`" in capfd.readouterr().err
    path.write_bytes(b"")
    with pytest.raises(DamagedError):
        sealed.load(path)
