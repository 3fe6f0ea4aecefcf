"""MAPPO updates against the plain reference: metrics and, through the updated parameters, all gradients."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from plain_ppo import PlainMAPPO, PPOSettings
from ppo_worlds import ENTITY, LEARNED, as_rollout, rollouts_of, small_mappo
from worlds import AIMING, ALL_DEAD, SINGLE, Sizes, drive, parameters_of, random_batch, sizes

from mipi_pl.algorithms.mappo import MAPPO

LEARNING_RATE = 0.1


def parts_of(algorithm: MAPPO, sequences: int, environments: int, seed: int) -> list[list[list[int]]]:
    """The minibatches of each epoch, as drawn with this seed."""
    torch.manual_seed(seed)
    count = min(algorithm.minibatches, environments)
    drawn = (torch.randperm(sequences).tensor_split(count) for _ in range(algorithm.epochs))
    return [[part.tolist() for part in parts] for parts in drawn]


def assert_same_update(
    s: Sizes,
    updates: int = 1,
    clip_norm: float = 10.0,
    rollout: int | None = None,
    networks: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """Against the plain update, on whole episodes or on rollouts of this many steps."""
    algorithm = small_mappo(
        s.spec,
        optimizer=partial(torch.optim.SGD, lr=LEARNING_RATE),
        seed=s.seed,
        gradient_clip=clip_norm,
        **(networks or {}),
        **options,
    ).double()
    plain = PlainMAPPO(
        {name: value.requires_grad_() for name, value in parameters_of(algorithm, *LEARNED).items()},
        PPOSettings(
            heads=2,
            capacity=s.spec.n_entities,
            learning_rate=LEARNING_RATE,
            gradient_clip=clip_norm,
            max_steps=s.spec.max_steps,
            targets=s.targets,
            **options,
        ),
    )
    whole = as_rollout(random_batch(s, partitions=max(1, algorithm.partitions_per_batch)))
    batches = [whole] * updates if rollout is None else rollouts_of(whole, rollout, updates)
    for update, batch in enumerate(batches):
        parts = parts_of(algorithm, len(batch), len(whole), update)
        torch.manual_seed(update)
        (logged,) = drive(algorithm, [batch.clone()])
        plain.update(batch, parts)
        torch.testing.assert_close(logged["value/mean"], plain.metrics["value/mean"].to(logged["value/mean"]))
    found = parameters_of(algorithm, *LEARNED)
    assert found.keys() == plain.parameters.keys()
    for name, expected in plain.parameters.items():
        torch.testing.assert_close(found[name], expected.detach(), rtol=1e-6, atol=1e-8, msg=name)


@settings(max_examples=4, deadline=None)
@given(sizes())
@example(Sizes())
@example(ALL_DEAD)
@example(SINGLE)
def test_update_equals_the_plain_one_on_any_batch(s: Sizes) -> None:
    assert_same_update(s, regularizer="mutual_information", alpha=0.3)


@pytest.mark.parametrize(
    "options",
    [
        {"updates": 3, "epochs": 1},
        {"minibatches": 2, "epochs": 3},
        {"minibatches": 50},
        {"regularizer": "entropy", "alpha": 0.4},
        {"regularizer": "mutual_information", "marginal_teams": "actual", "alpha": 0.4},
        {"truncation_is_terminal": False, "gamma": 0.8, "gae_lambda": 0.5},
        {"gae_lambda": 1.0, "value_clip": None},
        {"gae_lambda": 0.0, "huber_delta": None},
        {"huber_delta": 0.1, "value_clip": 0.01},
        {"value_decay": None, "entropy_bonus": 0.0},
        {"clip": 0.001, "epochs": 3},
        {"clip_norm": 0.05, "epochs": 1},
    ],
    ids=str,
)
def test_update_equals_the_plain_one_with_every_option(options: dict[str, Any]) -> None:
    assert_same_update(Sizes(), **options)


@pytest.mark.parametrize("priced", [None, "kind", "target"])
@pytest.mark.parametrize("regularizer", ["mutual_information", "entropy"])
def test_update_equals_the_plain_one_where_actions_aim_at_entities(regularizer: str, priced: str | None) -> None:
    assert_same_update(AIMING, regularizer=regularizer, alpha=0.3, priced=priced)


LONG = Sizes(lengths=(7, 4), lifetimes=((9, 9, 3), (9, 5, 9)), absent=((), (4,)), truncated=(True, True), seed=3)
"""The first is truncated at the time limit of 7, the second before it, by a fault."""


@pytest.mark.parametrize(
    ("networks", "options"),
    [
        ({}, {"minibatches": 2, "epochs": 2}),
        ({"recurrent": True}, {"regularizer": "mutual_information", "alpha": 0.3, "minibatches": 2, "epochs": 1}),
        (
            {"recurrent": True, "network": ENTITY},
            {"regularizer": "mutual_information", "alpha": 0.3, "epochs": 2, "marginal_epochs": 1},
        ),
        ({}, {"regularizer": "entropy", "alpha": 0.3, "epochs": 1, "truncation_is_terminal": False}),
    ],
    ids=["minibatches", "recurrent critic", "marginal epochs", "truncation"],
)
def test_update_equals_the_plain_one_on_rollouts_that_cut_episodes(
    networks: dict[str, Any], options: dict[str, Any]
) -> None:
    """Three rollouts of three steps: states of older parameters, actions before a cut, and ends within a sequence."""
    assert_same_update(LONG, updates=3, rollout=3, networks=networks, **options)


def test_update_equals_the_plain_one_with_own_path_pair_scores_and_layer_norm() -> None:
    assert_same_update(AIMING, networks={"network": ENTITY}, epochs=1, regularizer="mutual_information", alpha=0.3)
