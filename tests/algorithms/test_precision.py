"""A whole update with kernels and in bfloat16, against plain PyTorch in single precision."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from ppo_worlds import as_rollout, small_mappo
from torch import Tensor
from worlds import AIMING, Sizes, drive, parameters_of, random_batch, small_mipi, small_q

from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.losses.information import log_kinds
from mipi_pl.models import fused

WIDE = {"width": 32, "hidden": 16}
"""Heads that fill a vector, as the kernels want them."""
SIZES = Sizes()


@pytest.fixture(autouse=True)
def _enabled_afterwards() -> Iterator[None]:
    yield
    fused.enable(True)


def learner(kind: str) -> EntityAlgorithm:
    spec = SIZES.spec
    return small_mipi(spec, alpha=0.3, **WIDE) if kind == "mipi" else small_q(spec, kind, **WIDE)


def updated(kind: str, *, kernels: bool, bfloat16: bool = False) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What two updates logged at last, and the parameters after them."""
    fused.enable(kernels)
    algorithm = learner(kind)
    batch = random_batch(SIZES, partitions=3, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        logged = drive(algorithm, [batch.clone(), batch.clone()])[-1]
    return logged, parameters_of(algorithm)


@pytest.mark.parametrize("kind", ["mipi", "refil", "collaq"])
def test_kernels_change_an_update_by_rounding_only(kind: str) -> None:
    plain, fast = updated(kind, kernels=False), updated(kind, kernels=True)
    for one, other in zip(fast, plain, strict=True):
        for name, expected in other.items():
            torch.testing.assert_close(one[name], expected, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("kernels", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("kind", ["mipi", "refil", "collaq"])
def test_bfloat16_changes_an_update_by_its_rounding_only(kind: str, kernels: bool) -> None:
    (exact, before), (rounded, after) = (updated(kind, kernels=kernels, bfloat16=on) for on in (False, True))
    assert any(not torch.equal(after[name], value) for name, value in before.items()), "nothing was rounded"
    for name, expected in exact.items():
        assert rounded[name].dtype == torch.float32, name
        torch.testing.assert_close(rounded[name], expected, rtol=0.03, atol=0.01, msg=name)
    for name, expected in before.items():
        assert after[name].dtype == torch.float32
        torch.testing.assert_close(after[name], expected, rtol=0.03, atol=0.01, msg=name)


def test_prices_are_computed_in_single_precision() -> None:
    """What MIPI-PPO charges for the kind of action comes from differences of logarithms near 0."""
    torch.manual_seed(0)
    log_pi, kinds = torch.randn(50, 6).log_softmax(-1), torch.tensor([0, 1, 2, 2, 2, 3])
    exact = log_kinds(log_pi, kinds)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(log_kinds(log_pi, kinds), exact)


@pytest.mark.parametrize("priced", [None, "kind", "target"])
def test_bfloat16_changes_the_price_of_a_rollout_by_its_rounding_only(priced: str | None) -> None:
    batch = as_rollout(random_batch(AIMING, partitions=2, dtype=torch.float32))
    found = []
    for bfloat16 in (False, True):
        algorithm = small_mappo(AIMING.spec, regularizer="mutual_information", alpha=0.3, priced=priced, **WIDE)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            (logged,) = drive(algorithm, [batch.clone()])
        found.append(logged)
    exact, rounded = found
    assert not torch.equal(rounded["loss/value"], exact["loss/value"]), "nothing was rounded"
    for name in ("cost", "value/mean", "policy/kl_to_marginal", "policy/entropy"):
        assert rounded[name].dtype == torch.float32, name
        torch.testing.assert_close(rounded[name], exact[name], rtol=0.03, atol=0.003, msg=name)
