"""The padded learner of the benchmark makes the same updates as the real learner."""

from __future__ import annotations

import pytest
import torch
from padded_learner import PaddedMIPI
from worlds import ALL_DEAD, SINGLE, Sizes, drive, parameters_of, random_batch, small_mipi


@pytest.mark.parametrize("s", [Sizes(), ALL_DEAD, SINGLE], ids=["teams", "all_dead", "single_entity"])
def test_updates_of_the_benchmarks_twin_are_equal(s: Sizes) -> None:
    batch = random_batch(s)
    real = small_mipi(s.spec).double()
    twin = small_mipi(s.spec).double()
    twin.__class__ = PaddedMIPI
    for algorithm in (real, twin):
        drive(algorithm, [batch, batch])
    expected = parameters_of(twin)
    for name, found in parameters_of(real).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-8, atol=1e-10, msg=name)
