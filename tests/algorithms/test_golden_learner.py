"""Golden test of twenty learning steps."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from golden import assert_golden, rounded
from ppo_worlds import ENTITY
from worlds import AIMING, Sizes, drive, random_batch, small_mipi

STEPS = 20


def learn(sizes: Sizes, network: dict[str, Any]) -> list[dict[str, float]]:
    """What each step logs, in double precision, so that it is the same on every machine."""
    batches = [random_batch(replace(sizes, seed=seed)) for seed in range(4)]
    optimizer = partial(torch.optim.RMSprop, lr=5e-3, alpha=0.99, eps=1e-5)
    options = {"alpha": 0.1, "td_lambda": 0.3, "network": network}
    algorithm = small_mipi(sizes.spec, width=16, hidden=8, optimizer=optimizer, **options).double()
    logged = []
    for step in range(STEPS):
        logged += drive(algorithm, [batches[step % len(batches)]])
        if step % 7 == 6:
            algorithm.update_targets()
    return rounded(logged)


def test_golden_learner(request: pytest.FixtureRequest) -> None:
    assert_golden(learn(Sizes(), {}), "learner.json", STEPS, request)


def test_golden_learner_with_entity_networks(request: pytest.FixtureRequest) -> None:
    assert_golden(learn(AIMING, ENTITY), "learner_entity.json", STEPS, request)
