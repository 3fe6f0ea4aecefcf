"""Checkpoints of a run: the newest and the best ones, and those that cannot be written."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from callback_run import evaluation, fit
from lightning import LightningModule, Trainer

from mipi_pl.callbacks import checkpointing
from mipi_pl.callbacks.checkpointing import Checkpointing
from mipi_pl.callbacks.frame_budget import FrameBudget


def test_the_best_checkpoint_is_that_of_the_monitored_metric(tmp_path: Path) -> None:
    monitors = {"monitor": "eval/win_rate_training", "monitor_held_out": "held_out/score"}
    fit(tmp_path, evaluation(), Checkpointing(21, **monitors), FrameBudget(42))
    steps = {
        path.name: torch.load(path, weights_only=True)["global_step"]
        for path in (tmp_path / "checkpoints").glob("[bl]*.ckpt")
    }
    assert steps.pop("best-heldout.ckpt") == 4, "the held-out team is won from there"
    assert steps == {"best.ckpt": 2, "last.ckpt": 6}, "the training teams were won until the fourth update"


def test_a_monitor_that_no_evaluation_has_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    def end(metrics: dict[str, float], bests: Any = None, first: bool = True, **monitors: str) -> str:
        callback = Checkpointing(7, **monitors)  # type: ignore[arg-type]
        callback.load_state_dict({"next": 7, "bests": bests or {}})
        callback.save = lambda _: None  # type: ignore[method-assign]
        trainer: Any = SimpleNamespace(callback_metrics=metrics, print=print, is_global_zero=first)
        callback.on_train_end(trainer, LightningModule())
        return capsys.readouterr().out

    scores = {"eval/score_training": 0.5}
    typo = "callbacks.checkpointing.monitor can be one of eval/score_training"
    assert typo in end(scores, monitor="eval/typo")
    assert end(scores, first=False, monitor="eval/typo") == "", "the first process has said it"
    assert "no metric held_out/score" in end(scores, monitor="held_out/score")
    assert end(scores, monitor="eval/score_training", monitor_held_out="held_out/score") == "", "nothing is held out"
    assert end({}, monitor="eval/typo") == "", "nothing was evaluated"
    assert end(scores, {"best.ckpt": 2.0}, monitor="train/loss") == "", "it had a value before the run was resumed"


def test_nothing_unfinished_is_left_beside_the_checkpoints(tmp_path: Path) -> None:
    fit(tmp_path, Checkpointing(7), FrameBudget(21))
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"index.json", "last.ckpt", "update_000000002.ckpt", "update_000000003.ckpt"}


@pytest.mark.parametrize("keep", [1, 3])
def test_the_newest_checkpoints_are_kept(keep: int, tmp_path: Path) -> None:
    fit(tmp_path, Checkpointing(7, keep=keep), FrameBudget(35))
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("update_*"))
    assert names == [f"update_{number:09d}.ckpt" for number in range(6 - keep, 6)]
    assert (tmp_path / "checkpoints" / "last.ckpt").read_bytes() == (tmp_path / "checkpoints" / names[-1]).read_bytes()


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    callback = Checkpointing(7)
    trainer, _, learner = fit(tmp_path, callback, FrameBudget(7))
    before = (tmp_path / "checkpoints" / "last.ckpt").read_bytes()

    def torn(path: Path, weights_only: bool) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(trainer, "save_checkpoint", torn)
    learner.updates += 1
    callback.save(trainer)
    assert "disk full" in capsys.readouterr().out
    assert (tmp_path / "checkpoints" / "last.ckpt").read_bytes() == before
    assert not list(tmp_path.rglob("*.unfinished"))


def test_the_best_checkpoint_is_the_best_of_those_that_could_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump, refused = checkpointing._dump, []

    def full_once(trainer: Trainer, path: Path) -> None:
        if "best" in path.name and not refused:
            refused.append(path)
            raise OSError("disk full")
        dump(trainer, path)

    monkeypatch.setattr(checkpointing, "_dump", full_once)
    callback = Checkpointing(21, monitor="eval/win_rate_training")
    fit(tmp_path, evaluation(), callback, FrameBudget(42))
    assert len(refused) == 1
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == 4, "that of the second update, which wins, is lost"
    assert best["callbacks"][callback.state_key]["bests"] == {"best.ckpt": 0.0}
    assert callback.lost_files == []


def test_a_best_checkpoint_that_was_lost_is_tried_again_with_the_next_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def write(trainer: Any, file: str) -> None:
        tried.append(file)
        if len(tried) == 1:
            raise OSError("disk full")

    monkeypatch.setattr(Checkpointing, "_write_best", staticmethod(write))
    callback, metrics = Checkpointing(7, monitor="score"), {"score": 1.0}
    trainer: Any = SimpleNamespace(
        callback_metrics=metrics, default_root_dir=tmp_path, is_global_zero=True, loggers=[], print=lambda _: None
    )
    counts = []
    for score in (1.0, 1.0, 0.5, 0.5, 1.0, 1.0):
        metrics["score"] = score
        callback.on_train_batch_end(trainer, LightningModule())
        counts.append(len(tried))
    assert counts == [1, 1, 2, 2, 3, 3]
    for score in (math.nan, math.nan, 0.1):
        metrics["score"] = score
        callback.on_train_batch_end(trainer, LightningModule())
    assert (len(tried), callback.state_dict()["bests"]) == (3, {"best.ckpt": 1.0}), "NaN is no improvement"


def test_no_process_begins_a_checkpoint_if_the_first_one_has_no_folder_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others would wait for the first one in the middle of the checkpoint."""
    callback = Checkpointing(7)
    trainer, _, learner = fit(tmp_path, callback, FrameBudget(7))

    def refuse(_: Any) -> None:
        raise OSError("read-only")

    monkeypatch.setattr(checkpointing.distributed, "on_first_rank", refuse)
    monkeypatch.setattr(checkpointing, "_dump", lambda *_: pytest.fail("a checkpoint was begun"))
    learner.updates += 1
    callback.save(trainer)
    assert "not written (read-only)" in capsys.readouterr().out
    assert callback.owed_files == ["update_000000002.ckpt"]
