"""The table of benchmarks/matrix_game.py."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
from run_folders import make_run

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import matrix_game  # noqa: E402


def test_each_seed_has_one_row_at_the_frames_of_an_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_game, "HELD_OUT", "6")
    for seed in (0, 1):
        make_run(tmp_path, "mipi", seed, environment="matrix_game", winnable=False)
    rows, runs = matrix_game.collect(tmp_path)
    assert len(runs) == 2
    found = Counter((row["seed"], row["evaluation"], row["frames"]) for row in rows)
    assert set(found.values()) == {1}
    assert len(found) == 2 * 2 * 3, "two seeds, two evaluations, three points"
