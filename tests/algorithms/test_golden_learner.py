"""Twenty learning steps that do not change unless they are meant to."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from worlds import Sizes, drive, random_batch, small_mipi

GOLDEN = Path(__file__).parents[1] / "golden" / "learner.json"
STEPS = 20


def learn() -> list[dict[str, float]]:
    """What each step logs, in double precision, so that it is the same on every machine."""
    batches = [random_batch(Sizes(seed=seed)) for seed in range(4)]
    optimizer = partial(torch.optim.RMSprop, lr=5e-3, alpha=0.99, eps=1e-5)
    algorithm = small_mipi(Sizes().spec, width=16, hidden=8, optimizer=optimizer, alpha=0.1, td_lambda=0.3).double()
    logged = []
    for step in range(STEPS):
        logged += drive(algorithm, [batches[step % len(batches)]])
        if step % 7 == 6:
            algorithm.update_targets()
    return [{name: float(f"{float(value):.9g}") for name, value in row.items()} for row in logged]


def test_golden_learner(request: pytest.FixtureRequest) -> None:
    found = learn()
    if request.config.getoption("--golden-update"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert len(found) == len(expected) == STEPS
    for step, (row, golden) in enumerate(zip(found, expected, strict=True)):
        assert row == pytest.approx(golden, rel=1e-5, abs=1e-9), f"step {step}: make golden rewrites an intended change"
