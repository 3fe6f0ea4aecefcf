"""Twenty learning steps that do not change unless they are meant to."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from golden import assert_golden, rounded
from worlds import Sizes, drive, random_batch, small_mipi

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
    return rounded(logged)


def test_golden_learner(request: pytest.FixtureRequest) -> None:
    assert_golden(learn(), "learner.json", STEPS, request)
