"""The export for marl-eval, read by the rules of its README, and the absolute metric."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from run_folders import make_run, results

from mipi_pl.cli import main
from mipi_pl.reporting.document import Heading
from mipi_pl.reporting.groups import worlds_of
from mipi_pl.reporting.marl_eval import _lowered, write_marl_eval
from mipi_pl.reporting.runs import find_runs
from mipi_pl.run.report import as_json
from mipi_pl.storage.files import sha256_of

Scores = dict[tuple[str, str, str, str], dict[str, Any]]


def scores(content: Any, metrics: set[str]) -> Scores:
    """Step counts, means at each step and absolute means by environment, task, algorithm and run.

    Raises if the file is not one that marl-eval reads: it looks for the tasks, runs and steps of the first algorithm
    in all others, takes the last step as the absolute one, and searches for names in lower case.
    """
    found = {}
    for environment, tasks in content.items():
        assert environment == environment.lower()
        shapes = {tuple((name, tuple(runs)) for name, runs in algorithms.items()) for algorithms in tasks.values()}
        assert len(shapes) == 1
        steps_of = [list(run) for task in tasks.values() for runs in task.values() for run in runs.values()]
        assert all(steps == steps_of[0] for steps in steps_of)
        assert steps_of[0] == [*(f"step_{k}" for k in range(len(steps_of[0]) - 1)), "absolute_metrics"]
        for task, algorithms in tasks.items():
            assert task == task.lower()
            for algorithm, runs in algorithms.items():
                for name, run in runs.items():
                    *steps, absolute = run.values()
                    assert all(set(step) == metrics | {"step_count"} for step in steps)
                    assert set(absolute) == metrics
                    assert all(isinstance(step["step_count"], int) for step in steps)
                    means = {
                        metric: [sum(step[metric]) / len(step[metric]) for step in (*steps, absolute)]
                        for metric in metrics
                    }
                    found[environment, task, algorithm, name] = {
                        "steps": [step["step_count"] for step in steps], "absolute": absolute, **means
                    }  # fmt: skip
    return found


def exported(runs: Path, folder: Path, *metrics: str) -> tuple[Scores, str]:
    """The scores in the file, and the notes."""
    file = folder / "marl_eval.json"
    notes = write_marl_eval(file, worlds_of(find_runs([runs])))
    return scores(json.loads(file.read_text()), set(metrics)), "; ".join(notes)


def test_a_file_has_every_team_size_algorithm_seed_and_step(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path / "runs", "mipi", seed, (0.9, 0.6, 0.5, 0.4))
        make_run(tmp_path / "runs", "refil", seed, (0.8, 0.5, 0.4, 0.3))
    found, said = exported(tmp_path / "runs", tmp_path, "win_rate", "return")
    tasks = ("3-5, trained", "6", "7", "8")
    assert set(found) == {
        ("marines", task, name, f"seed_{seed}") for task in tasks for name in ("mipi", "refil") for seed in range(2)
    }
    run = found["marines", "6", "mipi", "seed_1"]
    assert run["steps"] == [0, 500, 1000]
    assert run["win_rate"] == pytest.approx([0.0, 0.3, 0.6, 0.6])
    assert run["return"] == pytest.approx([2.0, 4.4, 6.8, 6.8])
    assert "the absolute metric of 4 of 4 runs is the final evaluation of their last policy, of 20 episodes" in said
    assert "marl-eval reads only equal ones" not in said


def test_a_file_is_kept_and_the_report_is_told_of_before_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "runs")
    (tmp_path / "mine.json").write_text("mine")
    words = ["report", str(tmp_path / "runs"), "--output-dir", str(tmp_path / "out"), "--marl-eval"]
    for taken in ("mine.json", "runs"):
        assert main([*words, str(tmp_path / taken)]) == 2
        assert f"{taken} exists already; name another file: --marl-eval FILE" in capsys.readouterr().err
    assert (tmp_path / "mine.json").read_text() == "mine"
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("mipi_pl.reporting.report.blocks_of", lambda *_: [Heading(1, "short")])
    assert main([*words, str(tmp_path / "mine.json" / "below.json")]) == 2
    said = capsys.readouterr()
    assert "report.html" in said.out
    assert "cannot write" in said.err


def test_different_seeds_are_numbered_and_unequal_numbers_are_said(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "mipi", 0, winnable=False)
    make_run(tmp_path / "runs", "refil", 7, winnable=False)
    found, _ = exported(tmp_path / "runs", tmp_path, "return")
    assert {name for *_, name in found} == {"run_1"}
    make_run(tmp_path / "runs", "refil", 8, winnable=False)
    notes = write_marl_eval(tmp_path / "again.json", worlds_of(find_runs([tmp_path / "runs"])))
    assert "marines: algorithms have different numbers of seeds; marl-eval reads only equal ones" in notes
    with pytest.raises(OSError, match="directory"):
        write_marl_eval(tmp_path, [])


def test_names_that_differ_in_capitals_alone_stay_apart(tmp_path: Path) -> None:
    for environment in ("marines", "Marines"):
        make_run(tmp_path / "runs", environment=environment)
    found, _ = exported(tmp_path / "runs", tmp_path, "win_rate", "return")
    assert {environment for environment, *_ in found} == {"marines", "marines'"}
    assert _lowered(["Big", "big", "BIG", "6"]) == ["big", "big'", "big''", "6"]


def test_the_absolute_metric_is_that_of_the_best_checkpoint_with_ten_times_the_episodes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    best = run / "checkpoints" / "best.ckpt"
    best.parent.mkdir(exist_ok=True)
    best.write_bytes(b"replaced later")
    former = sha256_of(best)
    best.write_bytes(b"weights")
    present = sha256_of(best)
    evaluations = (
        (200, {"absolute": True, "checkpoint": {"sha256": present}}),
        (199, {"absolute": True, "checkpoint": {"sha256": present}}),
        (400, {"absolute": True, "checkpoint": {"sha256": former}}),
        (500, {"absolute": False, "checkpoint": {"sha256": present}}),  # perhaps in another world
        (600, {"checkpoint": {"path": "x/best.ckpt"}}),  # of an earlier version
    )
    for number, (episodes, about) in enumerate(evaluations):
        evaluated = as_json(results((0.5, 0.5, 0.5, 0.5), episodes)) | about
        (run / "eval" / str(number)).mkdir(parents=True)
        (run / "eval" / str(number) / "results.json").write_text(json.dumps(evaluated))
    found, _ = exported(tmp_path / "runs", tmp_path, "win_rate", "return")
    assert {len(one["absolute"]["win_rate"]) for one in found.values()} == {200}
    assert {one["win_rate"][-1] for one in found.values()} == {0.5}
    (run / "eval" / "0" / "results.json").write_text("{")
    found, _ = exported(tmp_path / "runs", tmp_path, "win_rate", "return")
    assert {len(one["absolute"]["win_rate"]) for one in found.values()} == {20}, "the final evaluation"


def test_mipi_eval_makes_the_absolute_metric(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / finished_run.parent.name / finished_run.name
    shutil.copytree(finished_run, run)
    assert main(["eval", str(run), "--absolute"]) == 0
    file = tmp_path / "marl_eval.json"
    assert main(["report", str(run), "--output-dir", str(tmp_path / "out"), "--marl-eval", str(file)]) == 0
    found = scores(json.loads(file.read_text()), {"win_rate", "return"})
    assert {len(one["absolute"]["win_rate"]) for one in found.values()} == {20}, "ten times debug's two episodes"
    assert "absolute metric" not in capsys.readouterr().out
    worlds = ("env.payoffs={}", "+env={}", "held_out.worlds.x={}", "held_out.team_sizes=[]", "held_out={}")
    for change in (*worlds, "seed=1000000", "++seed=3", "held_out.episodes=3"):
        assert main(["eval", str(run), "--absolute", change]) == 2
        assert f"leave out --absolute or {change}" in capsys.readouterr().err
    own = tmp_path / "own"
    own.mkdir()
    allowed = ["threads=1", "held_out.baselines=[]", f"output_dir={own}", "--config-dir", str(own)]
    assert main(["eval", str(run), "--absolute", *allowed]) == 0
    (written,) = own.glob("*/results.json")
    content = json.loads(written.read_text())
    assert (content["absolute"], content["scripted"]) == (True, {})
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("monitor: eval/score_training", "monitor: held_out/score"))
    assert main(["eval", str(run), "--absolute"]) == 2
    assert "this run selected it by callbacks.checkpointing.monitor=held_out/score" in capsys.readouterr().err
    (run / "config.yaml").write_text("[")
    for words, message in (
        ([str(run)], "does not say how many episodes"),
        ([str(tmp_path)], "needs a run folder with checkpoints/best.ckpt"),
        ([], "the following arguments are required: CHECKPOINT"),
    ):
        assert main(["eval", "--absolute", *words]) == 2
        assert message in capsys.readouterr().err
