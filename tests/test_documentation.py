"""The algorithm of the tutorial can be trained and evaluated as printed, and uses its own targets."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from mipi_pl.cli import main

TUTORIAL = Path(__file__).resolve().parent.parent / "docs" / "tutorials" / "own_algorithm.md"


def test_the_algorithm_of_the_tutorial_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TUTORIAL.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (line,) = re.findall(r"^PYTHONPATH=\. mipi (.*)$", text, re.MULTILINE)
    (tmp_path / "plain_q.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    small = ["debug=tiny", "env.episode_limit=8", "held_out.baselines=[]", "held_out.episodes=1"]
    assert main([*shlex.split(line), *small]) == 0
    assert "td_targets" in vars(sys.modules["plain_q"].PlainQLearning)
    assert main(["eval", "outputs/latest/checkpoints/last.ckpt", "held_out.episodes=1"]) == 0
