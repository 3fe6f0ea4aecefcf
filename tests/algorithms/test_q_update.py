"""A step of each value-based learner against the plain reference: losses and, by the updated parameters, gradients."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from plain_q_update import PlainCollaQ, PlainQLearning
from plain_update import Settings
from worlds import AIMING, ALL_DEAD, PAUSES, SINGLE, Sizes, drive, parameters_of, random_batch, sizes, small_q

from mipi_pl.models import fused

LEARNING_RATE = 0.1
TRUNCATED = Sizes(truncated=(True, False, True))


def assert_same_update(s: Sizes, kind: str, *, dtype: torch.dtype = torch.float64, **options: Any) -> None:
    clip = options.pop("clip", 10.0)
    mara = {"mara_weight": options["mara_weight"]} if "mara_weight" in options else {}
    optimizer = partial(torch.optim.SGD, lr=LEARNING_RATE)
    algorithm = small_q(s.spec, kind, optimizer=optimizer, seed=s.seed, gradient_clip=clip, **options).to(dtype)
    weight = {"refil": options.get("imaginary_weight", 0.5)}.get(kind, 0.0)
    known = {
        key: value
        for key, value in options.items()
        if key in ("linear", "pool", "gamma", "td_lambda", "target_networks")
    }
    plain = (PlainCollaQ if kind == "collaq" else PlainQLearning)(
        {name: value.double().requires_grad_() for name, value in parameters_of(algorithm).items()},
        {
            f"{part}.{name}": value.detach().clone().double()
            for part in (("agent", "mixer") if algorithm.target_networks else ())
            for name, value in getattr(algorithm, f"target_{part}").named_parameters()
        },
        Settings(
            heads=2,
            capacity=s.n_agents,
            learning_rate=LEARNING_RATE,
            gradient_clip=clip,
            max_steps=s.spec.max_steps,
            imaginary_weight=weight,
            targets=s.targets,
            truncation_is_terminal=options.get("truncation_is_terminal", True),
            **{"linear": False, **known},
        ),
        **mara,
    )
    batch = random_batch(s, partitions=1, dtype=dtype)
    (logged,) = drive(algorithm, [batch.clone()])
    for name in ("entities", "reward"):
        batch[name] = batch[name].double()
    plain.update(batch)
    exact = dtype == torch.float64
    tolerance = {"rtol": 1e-6, "atol": 1e-9} if exact else {"rtol": 1e-3, "atol": 1e-5}
    for name, expected in plain.metrics.items():
        torch.testing.assert_close(logged[name], expected.to(logged[name]), msg=name, **tolerance)
    found = parameters_of(algorithm)
    assert found.keys() == plain.parameters.keys()
    for name, expected in plain.parameters.items():
        torch.testing.assert_close(found[name], expected.detach().to(dtype), msg=name, **tolerance)


KINDS = ["refil", "vdn", "collaq"]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5, deadline=None)
@given(s=sizes())
@example(s=ALL_DEAD)
@example(s=SINGLE)
@example(s=PAUSES)
def test_update_equals_the_plain_one_on_any_batch(kind: str, s: Sizes) -> None:
    assert_same_update(s, kind)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("aqmix", {}),
        ("aqmix", {"linear": True}),
        ("refil", {"pool": "present"}),
        ("refil", {"imaginary_weight": 1.0}),
        ("refil", {"td_lambda": 0.7, "gamma": 0.8}),
        ("refil", {"truncation_is_terminal": False, "clip": 0.05}),
        ("vdn", {"truncation_is_terminal": False, "td_lambda": 1.0}),
        ("aqmix", {"target_networks": False, "td_lambda": 0.7}),
        ("refil", {"target_networks": False}),
        ("vdn", {"target_networks": False}),
        ("collaq", {"target_networks": False}),
        ("collaq", {"mara_weight": 0.0}),
        ("collaq", {"mara_weight": 3.0, "truncation_is_terminal": False}),
    ],
    ids=str,
)
def test_update_equals_the_plain_one_with_every_option(kind: str, options: dict[str, Any]) -> None:
    assert_same_update(TRUNCATED, kind, **options)


@pytest.mark.parametrize("kernels", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_with_and_without_kernels_gives_the_same_update(kind: str, kernels: bool) -> None:
    fused.enable(kernels)
    try:
        assert_same_update(TRUNCATED, kind, dtype=torch.float32, width=32)  # heads that fill a vector
    finally:
        fused.enable(True)


@pytest.mark.parametrize("kind", ["refil", "collaq"])
def test_update_equals_the_plain_one_where_actions_aim_at_entities(kind: str) -> None:
    assert_same_update(AIMING, kind)
