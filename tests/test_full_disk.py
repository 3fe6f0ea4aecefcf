"""On a full disk training goes on, the end says in one line what is missing, and a resumed run loses nothing."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from crash import Event, train_once
from run_content import content, differences

from mipi_pl.cli import main
from mipi_pl.storage import sealed
from mipi_pl.storage.checkpoints import CheckpointFolder

RUN = [
    "experiment=matrix_game",
    "debug=tiny",
    "total_frames=120",
    "datamodule.capacity=40",
    "datamodule.updates_per_episode=0.25",
    "callbacks.checkpointing.every_frames=16",
    "callbacks.generalization.every_frames=30",
    "+callbacks.event._target_=crash.Event",
    "algorithm.target=sampled",
    "held_out.baselines=[]",
]
UNEXPECTED = "[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"
"""PyTorch's message if the file of its zip writer raised an OSError."""


def train(root: Path, *overrides: str) -> tuple[int, Path]:
    return train_once(root, *RUN, *overrides)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    Event.after, Event.happened = 0, False
    code, folder = train(tmp_path_factory.mktemp("undisturbed"))
    assert code == 0
    return folder


class FullDisk:
    """From `Event` on, the files in a folder cannot be written, as on a disk without room."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.has_room = folder, False
        self._write, self._save = io.open, torch.save
        monkeypatch.setattr("builtins.open", self.open)
        monkeypatch.setattr(io, "open", self.open)
        monkeypatch.setattr(torch, "save", self.save)

    def is_full(self, path: Any) -> bool:
        return Event.happened and not self.has_room and str(path).startswith(str(self.folder))

    def open(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if (
            set(mode) & set("wa")
            and self.is_full(file)
            and not str(file).endswith((".ckpt.unfinished", ".pt.unfinished"))
        ):
            raise OSError(28, "No space left on device", str(file))
        return self._write(file, mode, *arguments, **options)

    def save(self, content: object, file: Any) -> None:
        """PyTorch loses the OSError of its file in one of two ways."""
        if self.is_full(file._file.name):
            raise RuntimeError(UNEXPECTED)
        self._save(content, file)


@pytest.mark.slow
def test_a_full_disk_ends_a_run_in_one_line_that_says_what_is_missing(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Event.after, Event.happened = 12, False
    with monkeypatch.context() as patch:
        FullDisk(tmp_path, patch)
        code, folder = train(tmp_path)
    told = capfd.readouterr()
    assert code == 1
    (line,) = (line for line in told.err.splitlines() if line.startswith("mipi: "))
    assert "Traceback" not in told.err
    assert "training is finished, but its results cannot be written: " in line
    assert line.count("evaluations.csv") == 1
    for name in ("update_", "evaluations.csv", "results.csv", "results.png", "results.json"):
        assert name in line
    assert "resume from the last checkpoint with: mipi resume" in line
    assert told.out.count("2 (as trained)") == 2, "the table is printed at the start and at the end"
    assert "not written during training: update_" in told.out
    assert not (folder / "results.json").exists()
    assert not list(folder.rglob("*.unfinished"))
    Event.after, Event.happened = 0, False
    assert main(["resume", str(folder)]) == 0
    assert differences(content(undisturbed), content(folder)) == []


def test_a_run_that_finds_room_again_is_finished_and_names_the_lost_checkpoints(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Event.after, Event.happened = 12, False
    disk = FullDisk(tmp_path, monkeypatch)
    full_for = 2

    def save(content: object, file: Any) -> None:
        nonlocal full_for
        if disk.is_full(file._file.name):
            full_for -= 1
            disk.has_room = full_for == 0
            raise RuntimeError(UNEXPECTED)
        disk._save(content, file)

    monkeypatch.setattr(torch, "save", save)
    code, folder = train(tmp_path)
    told = capfd.readouterr()
    assert code == 0, told.err
    (line,) = (line for line in told.out.splitlines() if line.startswith("not written during training: "))
    assert line.endswith("; the results and the last checkpoint are complete")
    assert differences(content(undisturbed), content(folder)) == []


def test_an_error_of_the_disk_is_not_lost_in_pytorchs_writer() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    with pytest.raises(OSError, match="No space left on device"):
        sealed.write(full, {"tensor": torch.zeros(100_000)})


@pytest.mark.parametrize("message", [UNEXPECTED, "PytorchStreamWriter failed writing file data/0: file write failed"])
def test_every_form_of_pytorchs_error_is_one_of_the_disk(
    message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*_: Any) -> None:
        raise RuntimeError(f"{message}\nframe #0: in a library")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="PyTorch could not write the file") as caught:
        sealed.save(tmp_path / "file.pt", {})
    assert "frame" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB; only root can mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("no command mount")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_on_a_real_disk_that_is_full_the_run_ends_in_one_line_and_resumes_when_there_is_room(
    undisturbed: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Event.after, Event.happened = 0, False
    code, folder = train(small_disk, "callbacks.checkpointing.keep=50")
    told = capfd.readouterr()
    assert code == 1
    assert "Traceback" not in told.err
    assert "its results cannot be written: update_" in told.err
    assert CheckpointFolder(folder).newest_whole(pytest.fail) is not None
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    assert main(["resume", str(folder)]) == 0
    assert differences(content(undisturbed), content(folder)) == []
