from __future__ import annotations

import plain_losses
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mipi_pl.losses.td import lambda_targets


def stream(lengths: list[int], ends: list[bool], seed: int) -> dict[str, Tensor]:
    """Rewards, values and costs [T, N] of episodes of these lengths; `ends`: no value after the last step."""
    g = torch.Generator().manual_seed(seed)
    shape = (max(lengths) + 1, len(lengths))
    reward, value, cost = (torch.randn(shape, generator=g, dtype=torch.float64) for _ in range(3))
    played = torch.arange(shape[0]).unsqueeze(-1) < torch.tensor(lengths)
    bootstraps = torch.ones(shape, dtype=torch.float64)
    for n, length in enumerate(lengths):
        bootstraps[length - 1, n] = 0.0 if ends[n] else 1.0
    return {
        "reward": reward,
        "next_value": value,
        "next_cost": cost,
        "bootstraps": bootstraps,
        "played": played.double(),
    }


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    st.integers(0, 99),
)
@example([(1, True)], 0.9, 0.9, 0)
def test_targets_are_the_weighted_n_step_targets_of_each_episode(
    episodes: list[tuple[int, bool]], td_lambda: float, gamma: float, seed: int
) -> None:
    lengths, ends = [n for n, _ in episodes], [end for _, end in episodes]
    rows = stream(lengths, ends, seed)
    found = lambda_targets(**rows, gamma=gamma, td_lambda=td_lambda)
    for n, length in enumerate(lengths):
        columns = [rows[name][:length, n].tolist() for name in ("reward", "next_value", "next_cost")]
        bootstraps = [on > 0 for on in rows["bootstraps"][:length, n].tolist()]
        expected = plain_losses.lambda_targets(*columns, bootstraps, gamma, td_lambda)
        torch.testing.assert_close(found[:length, n], torch.tensor(expected, dtype=torch.float64))


def test_lambda_zero_is_the_one_step_target() -> None:
    rows = stream([4, 2, 1], [True, False, True], 0)
    found = lambda_targets(**rows, gamma=0.9, td_lambda=0.0)
    torch.testing.assert_close(found, lambda_targets(**rows, gamma=0.9, td_lambda=1e-12))
    for n, length in enumerate([4, 2, 1]):
        columns = [rows[name][:length, n].tolist() for name in ("reward", "next_value")]
        bootstraps = [on > 0 for on in rows["bootstraps"][:length, n].tolist()]
        expected = plain_losses.one_step_targets(*columns, bootstraps, 0.9)
        torch.testing.assert_close(found[:length, n], torch.tensor(expected, dtype=torch.float64))


def test_lambda_one_without_costs_is_the_discounted_return() -> None:
    rows = stream([3], [True], 0) | {"next_cost": torch.zeros(4, 1, dtype=torch.float64)}
    found = lambda_targets(**rows, gamma=0.5, td_lambda=1.0)
    r = rows["reward"][:, 0].tolist()
    assert found[0, 0].item() == pytest.approx(r[0] + 0.5 * r[1] + 0.25 * r[2])
