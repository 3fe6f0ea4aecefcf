"""Twenty rounds of learning that do not change unless they are meant to."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from ppo_worlds import small_mappo
from worlds import Sizes, drive, random_batch

GOLDEN = Path(__file__).parents[1] / "golden" / "on_policy.json"
ROUNDS = 20


def learn() -> list[dict[str, float]]:
    """What each round logs, in double precision, so that it is the same on every machine."""
    optimizer = partial(torch.optim.Adam, lr=5e-3, eps=1e-5)
    options = {"regularizer": "mutual_information", "alpha": 0.1, "minibatches": 2, "optimizer": optimizer}
    algorithm = small_mappo(Sizes().spec, width=16, hidden=8, **options).double()
    logged = drive(algorithm, [random_batch(Sizes(seed=k % 4)) for k in range(ROUNDS)])
    return [{name: float(f"{float(value):.9g}") for name, value in row.items()} for row in logged]


def test_golden_on_policy(request: pytest.FixtureRequest) -> None:
    found = learn()
    if request.config.getoption("--golden-update"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert len(found) == len(expected) == ROUNDS
    for number, (row, golden) in enumerate(zip(found, expected, strict=True)):
        assert row == pytest.approx(golden, rel=1e-5, abs=1e-9), f"{number}: make golden rewrites an intended change"
