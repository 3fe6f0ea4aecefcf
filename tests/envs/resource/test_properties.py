"""Properties of every episode, read from the observations only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensordict import TensorDictBase
from torchrl.envs.utils import check_env_specs

from mipi_pl import spec as keys
from mipi_pl.envs.resource.env import ResourceCollection
from mipi_pl.evaluation.rollout import play

Make = Callable[..., ResourceCollection]
A = 8  # capacity; then come home, six resources and the invader
INVADER = A + 7
PLACE, CARRIES, SKILLS = slice(6, 8), slice(10, 13), slice(13, 16)
quick = settings(
    max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def record(env: ResourceCollection, policy: Any, steps: int = 145) -> tuple[np.ndarray, np.ndarray]:
    """Entities [B, steps + 1, E, F] and rewards [B, steps] of one episode, in float64."""
    td = env.reset()
    entities, rewards = [td[keys.ENTITIES]], []
    for _ in range(steps):
        td = env.step(policy(td))["next"]
        entities.append(td[keys.ENTITIES])
        rewards.append(td[keys.REWARD].squeeze(-1))
    return torch.stack(entities, 1).double().numpy(), torch.stack(rewards, 1).double().numpy()


def is_there(entities: np.ndarray) -> np.ndarray:
    """Whether the invader is there: away, it shows its kind alone."""
    return (entities[..., INVADER, PLACE] != 0).any(-1)


def test_torchrl_accepts_the_environment(make_world: Make) -> None:
    check_env_specs(make_world(num_envs=2))


@pytest.mark.parametrize("policy", ["random", "expert"])
def test_the_return_is_the_sum_of_the_events_seen(make_world: Make, policy: str) -> None:
    env = make_world([3, 5, 8], num_envs=24, seed=7)
    entities, rewards = record(env, env.scripted_policy(policy, 1))
    before, after = entities[:, :-1], entities[:, 1:]
    took = (after[:, :, :A, CARRIES] > 0) & (before[:, :, :A, CARRIES] == 0)
    gave = (after[:, :, :A, CARRIES] == 0) & (before[:, :, :A, CARRIES] > 0)
    went = is_there(before) & ~is_there(after)
    arrived = went & (np.hypot(*np.moveaxis(before[:, :, INVADER, PLACE], -1, 0)) <= 0.08 + 0.03 + 0.01 + 1e-6)
    paid = 10 * (took * before[:, :, :A, SKILLS]).sum((2, 3)) + gave.sum((2, 3)) + 4.0 * went - 8.0 * arrived
    np.testing.assert_allclose(rewards, paid, atol=1e-5)
    counted = {name: env.state.episodes[name] for name in ("collected", "delivered", "caught", "lost")}
    assert (counted["collected"] == took.sum((1, 2, 3))).all()
    assert (counted["delivered"] == gave.sum((1, 2, 3))).all()
    assert (counted["lost"] == arrived.sum(1)).all()
    assert (counted["caught"] == (went & ~arrived).sum(1)).all()
    assert arrived.any()
    assert took.any() == (counted["caught"].sum() > 0)


def test_the_invader_returns_after_one_to_ten_steps_and_walks_home(make_world: Make) -> None:
    env = make_world([8], num_envs=60, seed=3)
    entities, _ = record(env, env.scripted_policy("expert"))
    there, delays = is_there(entities), []
    for row in there:
        edges = np.flatnonzero(np.diff(row.astype(int)))
        gone = edges[0::2]
        delays += [back - start for start, back in zip(gone, edges[1::2], strict=False)]
    assert set(delays) == set(range(1, 11))
    place = entities[:, :, INVADER, PLACE]
    both = there[:, :-1] & there[:, 1:]
    step = np.linalg.norm(place[:, 1:] - place[:, :-1], axis=-1)[both]
    np.testing.assert_allclose(step, 0.05, atol=1e-5)
    came = np.concatenate([there[:, :1], there[:, 1:] & ~there[:, :-1]], 1)
    np.testing.assert_allclose(np.abs(place[came]).max(-1), 0.99, atol=1e-6)


def test_resources_keep_their_distances(make_world: Make) -> None:
    env = make_world([8], num_envs=20, seed=5)
    entities, _ = record(env, env.scripted_policy("expert"))
    place = entities[:, :, A + 1 : A + 7, PLACE]
    apart = np.linalg.norm(place[:, :, :, None] - place[:, :, None], axis=-1) + 9 * np.eye(6)
    assert 0.1 - 1e-6 <= apart.min() < 0.12
    radius = np.linalg.norm(place, axis=-1)
    assert 0.4 - 1e-6 <= radius.min() < 0.41
    assert 0.94 < radius.max() <= 0.95 + 1e-6
    assert len(np.unique(place[:, :, 0].round(4), axis=1)) > 1, "taken ones appeared elsewhere"


@quick
@given(seed=st.integers(0, 2**32 - 1), toward=st.sampled_from([(1,), (2,), (3,), (4,), (1, 3), (2, 4), (1, 2, 3, 4)]))
def test_nobody_passes_the_walls(make_world: Make, seed: int, toward: tuple[int, ...]) -> None:
    env = make_world([8], num_envs=2, seed=seed, speed_levels=[0.7])
    draw = torch.Generator().manual_seed(seed)

    def press(td: TensorDictBase) -> TensorDictBase:
        return td.set(keys.ACTION, torch.tensor(toward)[torch.randint(len(toward), (2, A), generator=draw)])

    entities, _ = record(env, press)
    place = entities[:, :, :A, PLACE]
    assert np.abs(place).max() < 1.0, "the inner edges are at 0.9, the outer ones a whole length further"
    assert np.linalg.norm(entities[:, :, :A, 8:10], axis=-1).max() <= 0.7 + 1e-6
    if len(toward) == 1:
        assert np.abs(place[:, -1]).max() > 0.8, "they did press"


def test_a_body_that_nothing_drives_stays_and_a_push_is_mutual(make_world: Make) -> None:
    env = make_world([2], num_envs=1, capacity=2, seed=1)
    td = env.reset()
    agents = env.state.agents[0]
    agents["x"], agents["y"], agents["vx"], agents["vy"] = (-0.2, -0.2), (0.1, 0.17), 0.0, 0.0
    td = env.step(td.set(keys.ACTION, torch.zeros(1, 2, dtype=torch.int64)))["next"]
    assert agents["y"][1] > 0.17
    assert agents["vy"].sum() == pytest.approx(0.0, abs=1e-9)
    agents["x"], agents["y"], agents["vx"], agents["vy"] = (-0.2, 0.2), (0.2, -0.2), 0.0, 0.0
    env.step(td.set(keys.ACTION, torch.zeros(1, 2, dtype=torch.int64)))
    assert agents["x"].tolist() == [-0.2, 0.2]


@quick
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([2, 5, 8]), data=st.data())
def test_permuting_the_agents_permutes_everything(make_world: Make, seed: int, size: int, data: Any) -> None:
    order = [*data.draw(st.permutations(range(size))), *range(size, A)]
    one, two = (make_world([size], num_envs=1, seed=seed) for _ in range(2))
    td_one, td_two = one.reset(), two.reset()
    two.state.agents[0] = one.state.agents[0, order]
    two.state.skills[0] = one.state.skills[0, order]
    draw = np.random.default_rng(seed)
    for step in range(40):
        if step % 8 == 0:
            action = torch.from_numpy(draw.integers(0, 5, (1, A)))
            action[:, size:] = 0
        td_one = one.step(td_one.set(keys.ACTION, action))["next"]
        td_two = two.step(td_two.set(keys.ACTION, action[:, order]))["next"]
        slots = [*order, *range(A, A + 8)]
        torch.testing.assert_close(td_two[keys.ENTITIES], td_one[keys.ENTITIES][:, slots], rtol=0, atol=1e-5)
        assert torch.equal(td_two[keys.VISIBLE], td_one[keys.VISIBLE][:, order][:, :, slots])
        torch.testing.assert_close(td_two[keys.REWARD], td_one[keys.REWARD])


@pytest.mark.parametrize("policy", ["expert", "random"])
def test_empty_slots_change_nothing(make_world: Make, policy: str) -> None:
    tight, wide = make_world([4], capacity=4, seed=9), make_world([4], capacity=9, seed=9)
    (small, paid), (large, paid_too) = (record(env, hold_random(env, policy), 60) for env in (tight, wide))
    slots = [0, 1, 2, 3, *range(9, 17)]
    assert (large[:, :, slots] == small).all()
    assert (paid == paid_too).all()
    assert (large[:, :, 4:9] == 0).all()


def hold_random(env: ResourceCollection, policy: str) -> Any:
    """The expert, or actions that are the same for the first four agents whatever the capacity."""
    if policy == "expert":
        return env.scripted_policy("expert")
    draw = np.random.default_rng(2)

    def act(td: TensorDictBase) -> TensorDictBase:
        action = torch.zeros(env.num_envs, env.entity_spec.n_agents, dtype=torch.int64)
        action[:, :4] = torch.from_numpy(draw.integers(0, 5, (env.num_envs, 4)))
        return td.set(keys.ACTION, action)

    return act


def test_sizes_skills_and_speeds_are_drawn_evenly(make_world: Make) -> None:
    env = make_world([3, 4, 5], num_envs=900, seed=4)
    td = env.reset()
    sizes = td[keys.PRESENT][:, :A].sum(-1)
    assert [c.label for c in env.compositions] == ["3 agent", "4 agent", "5 agent"]
    assert torch.equal(td[keys.COMPOSITION].squeeze(-1), sizes - 3)
    assert torch.bincount(sizes)[3:].min() > 240  # 300 expected of each
    team = td[keys.PRESENT][:, :A]
    for columns, levels in ((SKILLS, [0.1, 0.5, 0.9]), (slice(16, 17), [0.3, 0.5, 0.7])):
        drawn = td[keys.ENTITIES][:, :A, columns][team].flatten()
        shares = [(drawn - level).abs().lt(1e-6).double().mean().item() for level in levels]
        assert sum(shares) == pytest.approx(1.0)
        assert min(shares) > 0.3


@pytest.mark.parametrize("size", [3, 4, 5, 6, 7, 8])
def test_the_expert_beats_random_by_far(make_world: Make, size: int) -> None:
    returns = {}
    for name in ("random", "expert"):
        env = make_world([size], num_envs=32, seed=2)
        returns[name] = play(env, env.scripted_policy(name, 1)).return_
    assert returns["expert"].min() > returns["random"].max()
    assert returns["expert"].mean() > 30 * size
    assert returns["random"].mean() < 30
