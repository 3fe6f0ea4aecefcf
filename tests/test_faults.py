"""Disks, loggers and worker processes fail during training, and nothing that was learned is lost."""

from __future__ import annotations

import builtins
import csv
import io
import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from crash import Event, LostLogger, WorkerKiller, train_once
from run_content import content, differences

from mipi_pl.cli import main
from mipi_pl.logging.csv import ResumableCSVLogger
from mipi_pl.storage.checkpoints import CheckpointFolder

RUN = [
    "experiment=matrix_game",
    "debug=tiny",
    "total_frames=120",
    "datamodule.capacity=40",
    "datamodule.updates_per_episode=0.25",
    "callbacks.checkpointing.every_frames=16",
    "callbacks.generalization.every_frames=30",
    "+callbacks.collection.every_updates=3",
    "+callbacks.event._target_=crash.Event",
    "trainer.log_every_n_steps=2",
    "algorithm.target=sampled",
    "held_out.baselines=[]",
    "picture._target_=crash.no_picture",
]


def train(root: Path, *overrides: str) -> tuple[int, Path]:
    return train_once(root, *RUN, *overrides)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run where nothing goes wrong."""
    code, folder = train(tmp_path_factory.mktemp("undisturbed"))
    assert code == 0
    return folder


@pytest.fixture(autouse=True)
def _nothing_has_happened_yet() -> None:
    Event.after, Event.happened = 12, False


def test_a_run_folder_that_becomes_read_only_keeps_its_checkpoints_and_the_run_ends_as_it_would_have(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    original = open

    def read_only(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if Event.happened and set(mode) & set("wax+") and str(file).startswith(str(tmp_path)):
            raise OSError(30, "Read-only file system", str(file))
        return original(file, mode, *arguments, **options)

    monkeypatch.setattr(builtins, "open", read_only)
    monkeypatch.setattr(io, "open", read_only)
    code, folder = train(tmp_path)
    told = capfd.readouterr()
    assert code == 1
    assert "Traceback" not in told.err
    assert "its results cannot be written" in told.err
    assert "mipi resume" in told.err
    assert "checkpoint update_" in told.out
    assert "evaluations.csv not written" in told.out
    assert told.out.count("logger csv failed") == 1
    assert "earlier checkpoints are kept" in told.out
    newest = CheckpointFolder(folder).newest_whole(pytest.fail)
    assert newest is not None
    Event.after, Event.happened = 0, False
    assert main(["resume", str(folder)]) == 0
    assert differences(content(undisturbed), content(folder)) == []


def test_a_full_disk_loses_no_row_of_the_logs(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    original, left = csv.DictWriter.writerows, {"metrics": 3, "evaluations": 1}

    def writerows(writer: Any, rows: Any) -> None:
        kind = "evaluations" if "policy" in writer.fieldnames else "metrics"
        if Event.happened and left[kind]:
            left[kind] -= 1
            original(writer, list(rows)[:1])  # half of it
            raise OSError(28, "No space left on device")
        original(writer, rows)

    monkeypatch.setattr(csv.DictWriter, "writerows", writerows)
    code, folder = train(tmp_path)
    told = capfd.readouterr().out
    assert code == 0
    assert left == {"metrics": 0, "evaluations": 0}
    assert "No space left on device" in told
    assert "evaluations.csv not written" in told
    assert differences(content(undisturbed), content(folder)) == []


def test_training_goes_on_without_a_logger_that_is_lost_and_says_so_once(
    undisturbed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    LostLogger.rows = 0
    code, folder = train(tmp_path, "+logger.lost._target_=crash.LostLogger")
    told = capfd.readouterr().out
    assert code == 0
    assert LostLogger.rows > 10, "it is tried again"
    assert told.count("logger lost failed (ConnectionError: the service is gone); training goes on") == 1
    assert differences(content(undisturbed), content(folder)) == []


@pytest.mark.slow
def test_a_worker_process_that_dies_ends_the_run_with_a_message_and_the_run_can_go_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    others = set(multiprocessing.active_children())
    WorkerKiller.after = 15
    options = ["datamodule.collector=processes", "datamodule.workers=1", "+callbacks.kill._target_=crash.WorkerKiller"]
    code, folder = train(tmp_path, *options)
    told = capfd.readouterr().err
    assert code == 1
    assert "mipi: a worker process died" in told
    assert "resume with: mipi resume" in told
    assert set(multiprocessing.active_children()) <= others
    newest = CheckpointFolder(folder).newest_whole(pytest.fail)
    assert newest is not None
    WorkerKiller.after = 0
    assert main(["resume", str(folder)]) == 0
    assert "unfinished episodes are lost" in capfd.readouterr().out
    results = json.loads((folder / "results.json").read_text())
    assert results["resumed_exactly"] is False
    assert results["frames"] >= 120
    assert len(results["resumed_at"]) == len(results["resumptions"]) == 1
    assert results["resumptions"][0]["commit"] == results["commit"]
    assert set(multiprocessing.active_children()) <= others


def test_a_worker_that_dies_before_the_first_checkpoint_is_not_said_to_have_left_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    WorkerKiller.after = 1
    options = ["datamodule.collector=processes", "datamodule.workers=1", "+callbacks.kill._target_=crash.WorkerKiller"]
    code, _ = train(tmp_path, "callbacks.checkpointing.every_frames=1000", *options)
    assert code == 1
    told = capfd.readouterr().err
    assert "mipi: a worker process died" in told
    assert "No checkpoint was written yet, so the run cannot be resumed" in told


def test_rows_of_updates_that_were_lost_before_the_first_that_counts_do_not_stay(tmp_path: Path) -> None:
    first = ResumableCSVLogger(str(tmp_path))
    nothing_yet = first.content()
    first.log_metrics({"train/loss": 1.0}, step=50)
    assert first.content()["text"]
    resumed = ResumableCSVLogger(str(tmp_path))
    resumed.restore(nothing_yet)
    assert not (tmp_path / "metrics.csv").exists()
    resumed.log_metrics({"collect/frames": 3.0}, step=50)
    assert resumed.content()["text"].split() == ["collect/frames,step", "3.0,50"]


def test_a_row_that_cannot_be_written_changes_no_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ResumableCSVLogger(str(tmp_path))
    log.log_metrics({"a": 1.0}, step=1)
    with monkeypatch.context() as patch:
        patch.setattr(csv.DictWriter, "writerows", lambda *_: int("no row"))
        log.experiment.log_metrics({"b": 2.0}, step=2)
        with pytest.raises(ValueError, match="no row"):
            log.experiment.save()
    log.log_metrics({"b": 3.0}, step=3)
    assert log.content()["text"].split() == ["a,b,step", "1.0,,1", ",2.0,2", ",3.0,3"]


def test_a_picture_that_cannot_be_drawn_costs_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["experiment=matrix_game", "debug=tiny", "held_out.baselines=[]", "picture.alpha=-1"]
    code, folder = train_once(tmp_path, *options)
    assert code == 0
    assert "picture: not drawn, ValueError: alpha must be at least 0, got -1" in capsys.readouterr().out
    assert (folder / "results.json").is_file()
    assert not (folder / "results.png").exists()
