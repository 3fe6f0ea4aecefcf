"""Golden files of the metrics that learning steps log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "golden"


def rounded(logged: Sequence[dict[str, Tensor]]) -> list[dict[str, float]]:
    """To nine digits."""
    return [{name: float(f"{float(value):.9g}") for name, value in row.items()} for row in logged]


def assert_golden(found: list[dict[str, float]], name: str, steps: int, request: pytest.FixtureRequest) -> None:
    """Equal to the file of this name, which `make golden` writes anew."""
    path = FOLDER / name
    if request.config.getoption("--golden-update"):
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    expected = json.loads(path.read_text(encoding="utf-8"))
    assert len(found) == len(expected) == steps
    for number, (row, golden) in enumerate(zip(found, expected, strict=True)):
        assert row == pytest.approx(golden, rel=1e-5, abs=1e-9), f"{number}: make golden rewrites an intended change"
