"""A MIPI learning step against the plain reference: losses and, through the updated parameters, all gradients."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from plain_update import PlainMIPI, Settings
from worlds import AIMING, ALL_DEAD, PAUSES, SINGLE, Sizes, drive, parameters_of, random_batch, sizes, small_mipi

LEARNING_RATE = 0.1


def assert_same_update(s: Sizes, clip: float = 10.0, **options: Any) -> None:
    algorithm = small_mipi(
        s.spec,
        optimizer=partial(torch.optim.SGD, lr=LEARNING_RATE),
        seed=s.seed,
        gradient_clip=clip,
        **options,
    ).double()
    plain = PlainMIPI(
        {name: value.requires_grad_() for name, value in parameters_of(algorithm).items()},
        {
            f"{kind}.{name}": value.detach().clone()
            for kind in (("agent", "mixer") if algorithm.target_networks else ())
            for name, value in getattr(algorithm, f"target_{kind}").named_parameters()
        },
        Settings(
            **{
                "heads": 2,
                "capacity": s.n_agents,
                "learning_rate": LEARNING_RATE,
                "gradient_clip": clip,
                "max_steps": s.spec.max_steps,
                "alpha_i": options.get("alpha", 0.03),
                "targets": s.targets,
                **options,
            }
        ),
    )
    batch = random_batch(s, partitions=algorithm.partitions_per_batch)
    (logged,) = drive(algorithm, [batch.clone()])
    plain.update(batch)
    for name, expected in plain.metrics.items():
        torch.testing.assert_close(logged[name], expected.to(logged[name]), rtol=1e-7, atol=1e-9, msg=name)
    found = parameters_of(algorithm)
    assert found.keys() == plain.parameters.keys()
    for name, expected in plain.parameters.items():
        torch.testing.assert_close(found[name], expected.detach(), rtol=1e-6, atol=1e-9, msg=name)


@settings(max_examples=5, deadline=None)
@given(sizes())
@example(Sizes())
@example(ALL_DEAD)
@example(SINGLE)
@example(PAUSES)
def test_update_equals_the_plain_one_on_any_batch(s: Sizes) -> None:
    assert_same_update(s, alpha=0.3)


@pytest.mark.parametrize(
    "options",
    [
        {"regularizer": "entropy", "alpha": 0.4, "alpha_i": 0.2},
        {"regularizer": "none"},
        {"td_lambda": 0.7, "alpha": 0.5, "truncation_is_terminal": False},
        {"td_lambda": 1.0, "alpha": 0.5},
        {"truncation_is_terminal": False, "alpha": 0.5, "gamma": 0.8},
        {"pool": "present", "alpha": 0.1, "alpha_i": 0.9},
        {"imaginary_weight": 0.0},
        {"imaginary_weight": 1.0},
        {"marginal_teams": "actual", "alpha": 0.4},
        {"policy_moves_trunk": True, "alpha": 0.4, "iterations": 3},
        {"policy_divergence": "forward", "alpha": 0.4, "policy_steps": 2},
        {"policy_divergence": "forward", "regularizer": "entropy", "alpha_i": 0.3},
        {"policy_divergence": "forward", "regularizer": "none", "iterations": 1},
        {"temperature": "by_weight", "alpha": 0.2, "alpha_i": 0.05, "policy_steps": 2},
        {"temperature": "by_weight", "policy_divergence": "forward", "alpha_i": 0.1},
        {"temperature": "by_weight", "policy_divergence": "forward", "regularizer": "entropy", "alpha_i": 0.1},
        {"uniform_share": 0.2, "alpha": 0.4},
        {"uniform_share": 0.2, "alpha": 0.4, "regularizer": "entropy", "td_lambda": 0.5},
        {"uniform_share": 0.2, "alpha": 0.4, "policy_divergence": "forward"},
        {"target_networks": False, "td_lambda": 0.7, "alpha": 0.4},
        {"own_entity_only": True, "regularizer": "none"},
        {"clip": 0.05, "iterations": 1},
    ],
    ids=str,
)
def test_update_equals_the_plain_one_with_every_option(options: dict[str, Any]) -> None:
    assert_same_update(Sizes(), **options)


@pytest.mark.parametrize(
    "options",
    [{"alpha": 0.4}, {"policy_divergence": "forward", "policy_moves_trunk": True}, {"own_entity_only": True}],
    ids=str,
)
def test_update_equals_the_plain_one_where_actions_aim_at_entities(options: dict[str, Any]) -> None:
    assert_same_update(AIMING, **options)
