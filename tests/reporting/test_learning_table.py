"""Scores by processor time of benchmarks/learning.py."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

from run_folders import make_run

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "learning.py"


def table(*arguments: str) -> list[list[str]]:
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=True)
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if line[0] == "|"
    ]


def test_scores_are_those_of_the_last_evaluation_within_the_minutes(tmp_path: Path) -> None:
    for seed, training in ((0, 0.8), (1, 0.6)):  # half as good half-way, after 15 of 30 processor minutes
        make_run(tmp_path, seed=seed, shares=(training, 0.6, 0.5, 0.4))
    head, _, ours, scripted = table(str(tmp_path), "--minutes", "10", "20", "60", "--table", str(tmp_path / "t.csv"))
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


def test_runs_that_are_not_finished_are_left_out_and_named(tmp_path: Path) -> None:
    make_run(tmp_path)
    going_on = make_run(tmp_path, seed=1, finished=False)
    done = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, check=True)
    assert f"left out: {going_on}" in done.stdout
