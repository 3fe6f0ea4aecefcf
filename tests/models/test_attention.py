from __future__ import annotations

import plain_networks as nets
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mipi_pl.models.attention import EntityAttention, with_last_action


def attention_case(
    agents: int, others: int, views: int, seed: int, share: float
) -> tuple[EntityAttention, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    net = EntityAttention(n_inputs=3, width=8, heads=2).double()
    mask = torch.rand(2, views, agents, agents + others) < share
    return net, torch.randn(2, agents + others, 3, dtype=torch.float64), mask


@settings(max_examples=10, deadline=None)
@given(
    st.integers(1, 3), st.integers(0, 3), st.integers(1, 3), st.integers(0, 99), st.sampled_from([0.0, 0.4, 0.8, 1.0])
)
@example(2, 1, 1, 0, 0.0)  # all dead
@example(1, 0, 1, 0, 1.0)  # a single entity
def test_each_agent_and_view_equals_explicit_softmax_over_what_is_seen(
    agents: int, others: int, views: int, seed: int, share: float
) -> None:
    net, inputs, mask = attention_case(agents, others, views, seed, share)
    parameters = dict(net.named_parameters())
    found = net(inputs, mask)
    for step in range(2):
        for v in range(views):
            for i in range(agents):
                expected = nets.attend(parameters, list(inputs[step]), i, mask[step, v, i].tolist(), net.heads)
                torch.testing.assert_close(found[step, v, i], expected)


def test_permuting_the_others_changes_nothing_and_permuting_agents_permutes_outputs() -> None:
    net, inputs, mask = attention_case(3, 3, 2, 0, 0.6)
    order = torch.tensor([2, 0, 1, 5, 3, 4])
    expected = net(inputs, mask)[:, :, order[:3]]
    found = net(inputs[:, order], mask[:, :, order[:3]][..., order])
    torch.testing.assert_close(found, expected)


def test_what_is_not_seen_does_not_matter() -> None:
    net, inputs, mask = attention_case(2, 3, 1, 0, 0.7)
    mask[..., 3] = False
    changed = inputs.clone()
    changed[:, 3] = 10.0 * torch.randn(3)
    torch.testing.assert_close(net(changed, mask), net(inputs, mask), rtol=0.0, atol=1e-12)


def test_a_row_that_sees_nothing_gives_zeros_and_finite_gradients() -> None:
    net, inputs, _ = attention_case(2, 1, 1, 0, 1.0)
    out = net(inputs.requires_grad_(), torch.zeros(2, 1, 2, 3, dtype=torch.bool))
    assert (out == 0).all()
    out.sum().backward()
    assert inputs.grad is not None
    assert all(torch.isfinite(p.grad).all() for p in (inputs, *net.parameters()) if p.grad is not None)


def test_large_scores_of_hidden_entities_do_not_drown_the_seen_ones() -> None:
    torch.manual_seed(0)
    net = EntityAttention(n_inputs=3, width=8, heads=2)
    inputs = torch.randn(1, 4, 3)
    shown = torch.tensor([[[[True, True, True, False]]]])
    modest = inputs.clone()
    modest[:, 3] = 0.0
    inputs[:, 3] *= 100.0
    torch.testing.assert_close(net(inputs, shown), net(modest, shown), rtol=1e-3, atol=1e-5)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width=8, heads=3"):
        EntityAttention(n_inputs=3, width=8, heads=3)


def test_last_action_is_one_hot_for_agents_that_have_acted_and_zero_for_others() -> None:
    found = with_last_action(torch.zeros(1, 3, 2), torch.tensor([[1, 3]]), n_kinds=3)
    assert found[0].tolist() == [[0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
