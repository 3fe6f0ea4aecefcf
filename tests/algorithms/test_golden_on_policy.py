"""Golden test of twenty on-policy learning steps."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from golden import assert_golden, rounded
from ppo_worlds import ENTITY, rollouts_of, small_mappo
from worlds import AIMING, drive, random_batch

ROLLOUTS = 20


def learn() -> list[dict[str, float]]:
    """What each rollout logs, in double precision, so that it is the same on every machine."""
    optimizer = partial(torch.optim.Adam, lr=5e-3, eps=1e-5)
    options = {"regularizer": "mutual_information", "alpha": 0.1, "minibatches": 2, "optimizer": optimizer}
    networks = {"network": ENTITY, "recurrent": True, "width": 16, "hidden": 8}
    algorithm = small_mappo(AIMING.spec, **networks, **options).double()
    return rounded(drive(algorithm, rollouts_of(random_batch(AIMING), steps=2, count=ROLLOUTS)))


def test_golden_on_policy(request: pytest.FixtureRequest) -> None:
    assert_golden(learn(), "on_policy.json", ROLLOUTS, request)
