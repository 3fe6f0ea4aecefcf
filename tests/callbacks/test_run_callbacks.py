"""Frame budget, evaluation schedule, metrics and progress, in a training loop without learning."""

from __future__ import annotations

import csv
import re
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from callback_run import Learner, Replay, evaluation, fit, make_env
from lightning import LightningModule

from mipi_pl.callbacks.checkpointing import Checkpointing
from mipi_pl.callbacks.collection import CollectionMetrics
from mipi_pl.callbacks.frame_budget import FrameBudget
from mipi_pl.callbacks.generalization import GeneralizationEvaluation
from mipi_pl.callbacks.progress import Progress, Throughput, clock, latest_scores, score_lines
from mipi_pl.envs.matrix import MatrixGame
from mipi_pl.storage.checkpoints import CheckpointFolder
from mipi_pl.utils.modules import evaluating


@pytest.mark.parametrize(("budget", "updates"), [(1, 1), (7, 1), (8, 2), (35, 5)])
def test_training_stops_with_the_update_that_reaches_the_budget(budget: int, updates: int, tmp_path: Path) -> None:
    _, data, learner = fit(tmp_path, FrameBudget(budget))
    assert learner.updates == updates
    assert data.frames == 7 * updates


def test_a_checkpoint_from_between_the_last_collection_and_its_update_has_the_update_before_it(tmp_path: Path) -> None:
    fit(tmp_path, Checkpointing(7, keep=3), FrameBudget(14), data=Replay())
    folder = CheckpointFolder(tmp_path)
    assert [(entry.updates, entry.frames) for entry in folder.entries()] == [(0, 7), (1, 14), (2, 14)]
    made = []
    for entry in folder.entries():
        path = tmp_path / "checkpoints" / entry.file
        _, _, learner = fit(tmp_path / entry.file, FrameBudget(14), data=Replay(), checkpoint=path)
        made.append(learner.updates)
    assert made == [1, 1, 0], "each collects once more, the last one has ended"


@pytest.mark.parametrize(("state", "stops"), [(None, True), (0, False), (7, False), (14, True)])
def test_a_resumed_run_has_ended_if_its_last_update_reached_the_budget(state: int | None, stops: bool) -> None:
    """`state` None: a checkpoint of an earlier version, which has the collected frames only."""
    budget, trainer = FrameBudget(14), SimpleNamespace(datamodule=SimpleNamespace(frames=14), should_stop=False)
    if state is not None:
        budget.load_state_dict({"at_last_update": state})
    budget.on_train_start(trainer, LightningModule())  # type: ignore[arg-type]
    assert trainer.should_stop is stops


def test_evaluation_follows_its_schedule_and_writes_what_it_found(tmp_path: Path) -> None:
    callback = evaluation()
    fit(tmp_path, callback, FrameBudget(42))
    with (tmp_path / "evaluations.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["level"] == "all"]
    rates = {(int(row["frames"]), row["evaluation"]): float(row["win_rate"]) for row in rows}
    assert {frames for frames, _ in rates} == {14, 28, 42}
    assert rates[14, "training"] == rates[42, "BB"] == 1.0
    assert rates[42, "training"] == rates[14, "BB"] == 0.0
    assert [result.name for result in callback.latest] == ["training", "BB"]


def test_evaluation_metrics_reach_the_logger_at_any_step(tmp_path: Path) -> None:
    trainer, _, _ = fit(tmp_path, evaluation(), FrameBudget(42))
    assert float(trainer.callback_metrics["eval/win_rate_BB"]) == 1.0
    assert float(trainer.callback_metrics["eval/score_BB"]) == 1.0
    assert float(trainer.callback_metrics["eval/return_BB_low"]) > 0
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["eval/win_rate_BB"]]
    assert [(float(row["frames"]), int(row["step"])) for row in rows] == [(14, 2), (28, 4), (42, 6)]


@pytest.mark.parametrize("has_both", [True, False])
def test_the_utilities_are_played_by_on_the_training_teams_where_there_is_a_policy_too(
    has_both: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learner, "fits_policy_to_utilities", has_both)
    callback = evaluation()
    callback.by_utilities = True
    trainer, _, _ = fit(tmp_path, callback, FrameBudget(42))
    named = [key for key in trainer.callback_metrics if "by_utilities" in key]
    assert ("eval/win_rate_training_by_utilities" in named) is has_both
    assert not any("BB" in key for key in named)
    assert float(trainer.callback_metrics["eval/win_rate_training"]) == 0.0
    if has_both:
        assert float(trainer.callback_metrics["eval/win_rate_training_by_utilities"]) == 1.0
    with (tmp_path / "evaluations.csv").open(newline="") as file:
        assert {row["policy"] for row in csv.DictReader(file)} == {"greedy"}


@pytest.mark.parametrize("training", [True, False])
def test_a_module_goes_back_to_its_former_mode_also_after_an_evaluation_that_fails(training: bool) -> None:
    module, seen = torch.nn.Linear(1, 1).train(training), []
    with suppress(OSError), evaluating(module):
        seen.append(module.training)
        raise OSError
    assert (seen, module.training) == ([False], training)


def test_rows_that_wait_are_written_by_the_first_process_alone(tmp_path: Path) -> None:
    for first in (False, True):
        callback = evaluation(10)
        callback.load_state_dict({**callback.state_dict(), "unwritten": [{"frames": 10}]})
        trainer = SimpleNamespace(is_global_zero=first, default_root_dir=str(tmp_path), print=pytest.fail)
        callback.on_train_end(trainer, LightningModule())  # type: ignore[arg-type]
        assert (tmp_path / "evaluations.csv").exists() == first


def test_collected_episodes_are_logged(tmp_path: Path) -> None:
    fit(tmp_path, CollectionMetrics(every_updates=2), FrameBudget(28))
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["frames"]) for row in rows] == [14, 28]
    assert {(float(row["collect/win_rate"]), float(row["collect/return"])) for row in rows} == {(1.0, 2.0)}
    assert [float(row["collect/cut_short"]) for row in rows] == [0, 1], "since the beginning"


def test_win_rates_are_neither_logged_nor_watched_where_nothing_is_won(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MatrixGame, "winnable", False)
    watch = Checkpointing(21, monitor="eval/score_training")
    trainer, _, _ = fit(tmp_path, evaluation(), CollectionMetrics(every_updates=2), watch, FrameBudget(28))
    names = (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"collect/return", "eval/return_training", "eval/score_training"} <= set(names)
    assert not any("win_rate" in name for name in [*names, *trainer.callback_metrics])
    assert trainer.callback_metrics["eval/score_BB"] == trainer.callback_metrics["eval/return_BB"]
    assert (tmp_path / "checkpoints" / "best.ckpt").exists()


def test_progress_is_plain_lines_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, evaluation(), Progress(42, every_s=1e-9), FrameBudget(42))
    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if "updates" in line]
    assert len(lines) == 6
    assert lines[-1].startswith("100% | 42 frames (")
    assert " left, 6 updates (" in lines[-1]
    assert text.count("       win rate training: 0.00, BB: 1.00\n") == 1, "told once, as long as nothing changes"
    assert text.count("       episodes cut short by faults of the world: 1\n") == 1
    assert "\x1b" not in text
    assert "\r" not in text


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "log or notebook"])
def test_progress_fits_80_columns(
    terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("mipi_pl.callbacks.progress._counts", lambda *_: (10_123_456, 1_234_567))
    monkeypatch.setattr(Throughput, "speeds", lambda _: (123_456.0, 1234.5))
    scores = {
        f"eval/{kind}_{name}": 0.5 for name in ("training", *range(6, 13), "a[/b]") for kind in ("score", "win_rate")
    }
    monkeypatch.setattr("mipi_pl.callbacks.progress.score_lines", lambda _, width: score_lines(scores, width))
    progress = Progress(20_000_000, every_s=1e-9)
    fit(tmp_path, progress, FrameBudget(42))
    assert progress._bar is None, "closed at the end"
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out).replace("\r", "\n")
    assert "10,123,456 frames (123,456/s)" in shown
    assert "12: 0.50" in shown
    assert "a[/b]: 0.50" in shown, "a name is no markup"
    assert max(map(len, shown.splitlines())) <= 80


def test_progress_keeps_quiet_when_disabled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(42, every_s=1e-9)
    progress.disable()
    fit(tmp_path, progress, FrameBudget(42))
    assert "updates" not in capsys.readouterr().out


def test_throughput_is_that_of_the_last_half_minute() -> None:
    throughput = Throughput()
    throughput.update(0.0, 0, 0)
    assert throughput.speeds() == (0.0, 0.0)
    for second in range(1, 100):
        throughput.update(float(second), 10 * second if second < 60 else 600 + 20 * (second - 60), second)
    assert throughput.speeds() == pytest.approx((20.0, 1.0))


@pytest.mark.parametrize(("seconds", "text"), [(None, "--:--"), (5, "0:05"), (61, "1:01"), (3661, "1:01:01")])
def test_the_clock_reads_as_minutes(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text


def test_progress_shows_what_counts_and_no_intervals() -> None:
    assert latest_scores({"loss": 1.0}) == ""
    rates = {"eval/score_6": 0.5, "eval/win_rate_6": 0.5, "eval/win_rate_6_low": 0.4}
    assert latest_scores(rates) == "win rate 6: 0.50"
    assert latest_scores({"eval/score_6": 131.27, "eval/return_6": 131.27}) == "return 6: 131.3"


@pytest.mark.parametrize(
    "make",
    [
        lambda: FrameBudget(0),
        lambda: Checkpointing(0),
        lambda: CollectionMetrics(0),
        lambda: Progress(0),
        lambda: Progress(1, every_s=0),
        lambda: GeneralizationEvaluation(make_env, 0, 1),
        lambda: GeneralizationEvaluation(make_env, 1, 0),
    ],
)
def test_counts_must_be_positive(make: Any) -> None:
    with pytest.raises(ValueError, match=r"must be (at least 1|above 0)"):
        make()
