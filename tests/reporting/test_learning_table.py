"""Scores by processor time of benchmarks/learning.py."""

from __future__ import annotations

import csv
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from run_folders import make_run

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "learning.py"
Script = Callable[..., str]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """Runs the script with arguments; what it prints."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(SCRIPT.parent)])

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().out

    return run


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[0] == "|"]


def test_scores_are_those_of_the_last_evaluation_within_the_minutes(tmp_path: Path, printed: Script) -> None:
    for seed, training in ((0, 0.8), (1, 0.6)):  # half as good half-way, after 15 of 30 processor minutes
        make_run(tmp_path, seed=seed, shares=(training, 0.6, 0.5, 0.4))
    words = (str(tmp_path), "--minutes", "10", "20", "60", "--table", str(tmp_path / "t.csv"))
    head, _, ours, scripted = cells(printed(*words))
    assert head[5:] == ["10 min", "20 min", "60 min", "at the end"]
    assert ours[:3] == ["marines", "`mipi`", "2"]
    assert ours[4:] == ["30.0", "", "0.35 ± 0.07, 0.25 ± 0.00", "", "0.70 ± 0.14, 0.50 ± 0.00"]
    assert (scripted[1], scripted[-1]) == ("`random`", "0.00, 0.00")
    with (tmp_path / "t.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["training"], row["8"], row["commit"]) for row in rows] == [
        ("0", "0.8", "0.4", "ccccccc"),
        ("1", "0.6", "0.4", "ccccccc"),
    ]


def test_a_dash_stands_for_what_a_run_does_not_have(tmp_path: Path, printed: Script) -> None:
    run = make_run(tmp_path, shares=(0.8,))  # a world with a single team
    ours, scripted = cells(printed(str(tmp_path), "--minutes", "20"))[2:]
    assert ours[4:] == ["30.0", "0.40, -", "0.80, -"]
    assert scripted[-1] == "0.00, -"
    results = json.loads((run / "results.json").read_text())
    del results["processor_seconds"]  # as in earlier versions
    (run / "results.json").write_text(json.dumps(results))
    (run / "config.yaml").unlink()
    (ours, _) = cells(printed(str(tmp_path), "--minutes", "20", "--table", str(tmp_path / "t.csv")))[2:]
    assert ours[4:] == ["-", "", "0.80, -"]


def test_teams_that_are_not_played_while_learning_have_a_dash(tmp_path: Path, printed: Script) -> None:
    path = make_run(tmp_path) / "evaluations.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row for row in rows if row["evaluation"] == "training" or row["frames"] in ("0", "1000"))
    assert cells(printed(str(tmp_path), "--minutes", "20"))[2][5] == "0.45, -"


def test_runs_that_are_not_finished_are_left_out_and_named(tmp_path: Path, printed: Script) -> None:
    make_run(tmp_path)
    going_on = make_run(tmp_path, seed=1, finished=False)
    assert f"left out: {going_on}" in printed(str(tmp_path))
