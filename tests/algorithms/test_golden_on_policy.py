"""Twenty rounds of learning that do not change unless they are meant to."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from golden import assert_golden, rounded
from ppo_worlds import small_mappo
from worlds import Sizes, drive, random_batch

ROUNDS = 20


def learn() -> list[dict[str, float]]:
    """What each round logs, in double precision, so that it is the same on every machine."""
    optimizer = partial(torch.optim.Adam, lr=5e-3, eps=1e-5)
    options = {"regularizer": "mutual_information", "alpha": 0.1, "minibatches": 2, "optimizer": optimizer}
    algorithm = small_mappo(Sizes().spec, width=16, hidden=8, **options).double()
    logged = drive(algorithm, [random_batch(Sizes(seed=k % 4)) for k in range(ROUNDS)])
    return rounded(logged)


def test_golden_on_policy(request: pytest.FixtureRequest) -> None:
    assert_golden(learn(), "on_policy.json", ROUNDS, request)
