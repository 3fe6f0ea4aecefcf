"""The kernel against the plain twin: all observations and rewards of whole episodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_resource import PlainResource

from mipi_pl import spec as keys
from mipi_pl.envs.resource.env import ResourceCollection

Make = Callable[..., ResourceCollection]
SIZES = [1, 2, 3, 5, 8]


def compare(env: ResourceCollection, td: Any, twin: PlainResource) -> None:
    capacity = env.entity_spec.n_agents
    np.testing.assert_allclose(td[keys.ENTITIES][0], twin.features(capacity), atol=1e-5)
    assert (td[keys.VISIBLE][0].numpy() == twin.visible(capacity)).all()
    n = len(twin.agents)
    assert td[keys.PRESENT][0].tolist() == [True] * n + [False] * (capacity - n) + [True] * 8
    assert td[keys.ACTION_MASK][0].sum(-1).tolist() == [5] * n + [1] * (capacity - n)
    assert td[keys.ACTION_MASK][0, :, 0].all()


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_random_actions_lead_where_the_plain_rules_lead(make_world: Make, seed: int, data: Any) -> None:
    env = make_world(SIZES, num_envs=1, seed=seed)
    twin = PlainResource(int(env.state.episodes[0].random), SIZES)
    td = env.reset()
    compare(env, td, twin)
    draw = np.random.default_rng(seed)
    hold = data.draw(st.sampled_from([1, 4, 12]), "steps for which an action is held")
    for step in range(45):
        if step % hold == 0:
            action = torch.from_numpy(draw.integers(0, 5, (1, 8)))
            action[0, len(twin.agents) :] = 0
        td = env.step(td.set(keys.ACTION, action))["next"]
        reward = twin.step(action[0].tolist())
        assert td[keys.REWARD].item() == pytest.approx(reward, abs=1e-5)
        compare(env, td, twin)


@pytest.mark.parametrize("size", [3, 8])
def test_whole_episodes_of_the_expert_are_those_of_the_plain_rules(make_world: Make, size: int) -> None:
    env = make_world([size], num_envs=1, seed=size)
    twin = PlainResource(int(env.state.episodes[0].random), [size])
    td, expert, total = env.reset(), env.scripted_policy("expert"), 0.0
    for _ in range(145):
        td = expert(td)
        total += twin.step(td[keys.ACTION][0].tolist())
        td = env.step(td)["next"]
        compare(env, td, twin)
    assert td[keys.TRUNCATED].item()
    assert total > 50, "there was something to compare"
