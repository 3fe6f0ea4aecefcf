from __future__ import annotations

import math

import plain_losses
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch import Tensor

from mipi_pl.losses import information as info
from mipi_pl.losses.information import Regularizer


def draw(rows: int, actions: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Logits of policy and marginal, utilities, available actions, those that act."""
    g = torch.Generator().manual_seed(seed)
    policy, marginal, utilities = (3 * torch.randn(rows, actions, generator=g, dtype=torch.float64) for _ in range(3))
    available = torch.rand(rows, actions, generator=g) < 0.6
    available[:, 0] |= ~available.any(dim=-1)
    return policy, marginal, utilities, available, torch.rand(rows, generator=g) < 0.7


@pytest.mark.parametrize("regularizer", list(Regularizer))
@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
@example(1, 1, 0)
def test_policies_penalties_and_losses_equal_plain_loops(
    regularizer: Regularizer, rows: int, actions: int, seed: int
) -> None:
    policy, marginal, utilities, available, acting = draw(rows, actions, seed)
    log_pi, log_marginal = info.log_policy(policy, available), info.log_policy(marginal, available)
    cost = info.penalty(regularizer, log_pi, log_marginal)
    crosses, improvements = [], []
    for k in range(rows):
        pi = plain_losses.log_probabilities(policy[k], available[k].tolist())
        other = plain_losses.log_probabilities(marginal[k], available[k].tolist())
        paid = plain_losses.penalty(regularizer.value, pi, other)
        for u in range(actions):
            assert math.exp(log_pi[k, u]) == pytest.approx(math.exp(pi[u]) if u in pi else 0.0)
        assert float(info.expectation(log_pi, cost)[k]) == pytest.approx(float(plain_losses.expectation(pi, paid)))
        entropy = -float(plain_losses.expectation(pi, pi))
        assert float(info.entropy(log_pi)[k]) == pytest.approx(entropy, abs=1e-9)
        if acting[k]:
            crosses.append(-float(plain_losses.expectation(pi, other)))
            improvements.append(float(plain_losses.expectation(pi, {u: 0.7 * paid[u] - utilities[k, u] for u in pi})))
    count = max(len(crosses), 1)
    assert float(info.marginal_loss(log_marginal, log_pi, acting)) == pytest.approx(sum(crosses) / count)
    found = info.policy_loss(log_pi, cost, utilities, 0.7, acting)
    assert float(found) == pytest.approx(sum(improvements) / count)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 99), st.floats(0.0, 1.0))
def test_softened_probabilities_equal_plain_loops_and_sum_to_one(
    rows: int, actions: int, seed: int, share: float
) -> None:
    policy, _, _, available, _ = draw(rows, actions, seed)
    found = info.softened(info.log_policy(policy, available), available, share)
    for k in range(rows):
        plain = plain_losses.softened(plain_losses.log_probabilities(policy[k], available[k].tolist()), share)
        for u in range(actions):
            assert math.exp(found[k, u]) == pytest.approx(math.exp(plain[u]) if u in plain else 0.0)
            assert u not in plain or math.exp(found[k, u]) >= share / len(plain) * (1 - 1e-12)
    torch.testing.assert_close(found.exp().sum(dim=-1), torch.ones(rows, dtype=torch.float64))


def test_the_best_policy_is_the_marginal_tilted_by_the_utilities() -> None:
    _, marginal, utilities, _, _ = draw(1, 4, 0)
    everything, acting = torch.ones(1, 4, dtype=torch.bool), torch.ones(1, dtype=torch.bool)
    log_marginal = info.log_policy(marginal, everything)
    logits = (log_marginal + utilities / 0.5).requires_grad_()
    log_pi = info.log_policy(logits, everything)
    cost = info.penalty(Regularizer.MUTUAL_INFORMATION, log_pi, log_marginal)
    info.policy_loss(log_pi, cost, utilities, 0.5, acting).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), rtol=0.0, atol=1e-12)


def test_the_policy_loss_does_not_move_the_utilities() -> None:
    policy, _, utilities, available, acting = draw(3, 4, 0)
    log_pi = info.log_policy(policy.requires_grad_(), available)
    loss = info.policy_loss(log_pi, log_pi, utilities.requires_grad_(), 0.5, acting)
    loss.backward()
    assert utilities.grad is None
    assert policy.grad is not None


def test_nobody_acting_gives_zero_losses_and_finite_gradients() -> None:
    policy, marginal, utilities, available, _ = draw(3, 4, 0)
    nobody = torch.zeros(3, dtype=torch.bool)
    log_pi = info.log_policy(policy.requires_grad_(), available)
    log_marginal = info.log_policy(marginal.requires_grad_(), available)
    loss = info.policy_loss(log_pi, log_pi, utilities, 0.5, nobody)
    loss = loss + info.marginal_loss(log_marginal, log_pi, nobody)
    loss.backward()
    assert float(loss.detach()) == 0.0
    for logits in (policy, marginal):
        assert logits.grad is not None
        assert (logits.grad == 0).all()


def test_single_precision_survives_unavailable_actions() -> None:
    logits = torch.tensor([[5.0, -3.0, 2.0]], requires_grad=True)
    available = torch.tensor([[True, False, False]])
    log_pi, log_marginal = info.log_policy(logits, available), info.log_policy(-logits, available)
    cost = info.expectation(log_pi, info.penalty(Regularizer.MUTUAL_INFORMATION, log_pi, log_marginal))
    cost.sum().backward()
    assert cost.item() == 0.0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_mutual_information_needs_a_marginal() -> None:
    with pytest.raises(ValueError, match="needs the marginal"):
        info.penalty(Regularizer.MUTUAL_INFORMATION, torch.zeros(1, 2), None)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises((TypeCheckError, BeartypeCallHintViolation)):
        info.entropy(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises((TypeCheckError, BeartypeCallHintViolation)):
        info.marginal_loss(torch.zeros(2, 3), torch.zeros(2, 4), torch.ones(2, dtype=torch.bool))
