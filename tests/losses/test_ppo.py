from __future__ import annotations

import math

import plain_ppo
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mipi_pl.losses import ppo

EPISODES = st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=4)


def stream(episodes: list[tuple[int, bool]], seed: int) -> dict[str, Tensor]:
    """Rewards and values [T, N] of episodes of these lengths, garbage after them; the flag: none follows."""
    g = torch.Generator().manual_seed(seed)
    shape = (max(length for length, _ in episodes) + 1, len(episodes))
    reward, value, next_value = (torch.randn(shape, generator=g, dtype=torch.float64) for _ in range(3))
    played, bootstraps = torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64)
    for n, (length, ends) in enumerate(episodes):
        played[:length, n] = 1.0
        bootstraps[length - 1, n] = 0.0 if ends else 1.0
    return {"reward": reward, "value": value, "next_value": next_value, "bootstraps": bootstraps, "played": played}


@settings(max_examples=20, deadline=None)
@given(EPISODES, st.sampled_from([0.0, 0.3, 0.95, 1.0]), st.sampled_from([0.0, 0.5, 0.99, 1.0]), st.integers(0, 99))
@example([(1, True)], 0.95, 0.99, 0)
@example([(1, False), (5, False)], 0.95, 0.99, 0)
@example([(1, True), (2, True)], 0.95, 0.5, 84)
def test_advantages_are_the_discounted_errors_of_each_episode(
    episodes: list[tuple[int, bool]], gae_lambda: float, gamma: float, seed: int
) -> None:
    rows = stream(episodes, seed)
    advantage, returns = ppo.advantages(**rows, gamma=gamma, gae_lambda=gae_lambda)
    for n, (length, _) in enumerate(episodes):
        columns = [rows[name][:length, n].tolist() for name in ("reward", "value", "next_value", "bootstraps")]
        expected = plain_ppo.advantages(*columns, gamma=gamma, gae_lambda=gae_lambda)
        assert advantage[:length, n].tolist() == pytest.approx(expected)
        assert returns[:length, n].tolist() == pytest.approx([a + v for a, v in zip(expected, columns[1], strict=True)])


@pytest.mark.parametrize("ends", [True, False])
def test_lambda_one_gives_the_discounted_rewards_and_the_value_after_a_time_limit(ends: bool) -> None:
    rows = stream([(3, ends)], 0)
    rows["next_value"][:2] = rows["value"][1:3]  # of the same states
    _, returns = ppo.advantages(**rows, gamma=0.5, gae_lambda=1.0)
    r, after = rows["reward"][:, 0].tolist(), 0.0 if ends else float(rows["next_value"][2, 0])
    assert float(returns[0, 0]) == pytest.approx(r[0] + 0.5 * r[1] + 0.25 * r[2] + 0.125 * after)


def decisions(steps: int, agents: int, share: float, seed: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    log_prob, old = (-torch.rand(steps, agents, generator=g, dtype=torch.float64) * 2 for _ in range(2))
    advantage = torch.randn(steps, generator=g, dtype=torch.float64)
    deciding = torch.rand(steps, agents, generator=g) < share
    return {"log_prob": log_prob, "old_log_prob": old, "advantage": advantage, "deciding": deciding}


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.sampled_from([0.0, 0.6, 1.0]), st.integers(0, 99))
@example(2, 3, 0.0, 0)
@example(1, 1, 1.0, 0)
def test_the_surrogate_is_the_mean_over_decisions(steps: int, agents: int, share: float, seed: int) -> None:
    rows = decisions(steps, agents, share, seed)
    found = ppo.surrogate_loss(**rows, clip=0.2)
    kl, beyond = ppo.divergence(rows["log_prob"], rows["old_log_prob"], rows["deciding"], clip=0.2)
    normal, deviation = ppo.normalized(rows["advantage"], rows["deciding"])
    terms, kls, clipped, each = [], [], [], {}
    for t in range(steps):
        for i in range(agents):
            if rows["deciding"][t, i]:
                ratio = torch.exp(rows["log_prob"][t, i] - rows["old_log_prob"][t, i])
                terms.append(float(plain_ppo.surrogate(ratio, float(rows["advantage"][t]), 0.2)))
                kls.append(float(ratio) - 1 - math.log(float(ratio)))
                clipped.append(not 0.8 <= float(ratio) <= 1.2)
                each[0, t, i] = float(rows["advantage"][t])
    count = max(1, len(terms))
    assert float(found) == pytest.approx(sum(terms) / count)
    assert float(kl) == pytest.approx(sum(kls) / count)
    assert float(beyond) == pytest.approx(sum(clipped) / count)
    for (_, t, _), expected in plain_ppo.normalized(each).items():
        assert float(normal[t]) == pytest.approx(expected)
    assert float(deviation) >= 0.0
    assert normal.isfinite().all()


def test_a_ratio_beyond_the_clip_range_has_no_gradient_where_it_would_gain() -> None:
    old, deciding = torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool)
    for advantage, moves in ((1.0, [False, True, True, True]), (-1.0, [True, True, True, False])):
        log_prob = torch.tensor([[1.5, 1.1, 0.9, 0.5]]).log().requires_grad_()
        ppo.surrogate_loss(log_prob, old, torch.tensor([advantage]), deciding, clip=0.2).backward()
        assert log_prob.grad is not None
        assert (log_prob.grad[0] != 0).tolist() == moves


@pytest.mark.parametrize("clip", [None, 0.2])
@pytest.mark.parametrize("huber", [None, 0.5])
def test_the_value_loss_is_the_mean_over_steps(clip: float | None, huber: float | None) -> None:
    g = torch.Generator().manual_seed(1)
    value, old, target = (torch.randn(12, generator=g, dtype=torch.float64) for _ in range(3))
    value.requires_grad_()
    (found,) = torch.autograd.grad(loss := ppo.value_loss(value, old, target, clip, huber), value)
    plain = sum(plain_ppo.value_error(value[t], float(old[t]), float(target[t]), clip, huber) for t in range(12)) / 12
    (expected,) = torch.autograd.grad(plain, value)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(found, expected)


def test_explained_variance_is_one_for_a_perfect_critic_and_nothing_for_a_constant() -> None:
    target = torch.tensor([1.0, 2.0, 4.0])
    assert float(ppo.explained_variance(target - 3.0, target)) == pytest.approx(1.0)
    assert float(ppo.explained_variance(torch.ones(3), target)) == pytest.approx(0.0)
    assert ppo.explained_variance(torch.randn(3), torch.ones(3)).isfinite()
