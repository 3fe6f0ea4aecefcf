from __future__ import annotations

import plain_networks as nets
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from models.agent import EntityAgent
from models.marginal import MarginalPolicy
from models.packing import PackedSteps


def observed(lengths: list[int]) -> torch.Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(-1)


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 3), st.integers(0, 2), st.integers(0, 99))
@example([1], 1, 0, 0)
@example([1, 3], 2, 2, 0)
def test_features_of_every_episode_view_and_agent_equal_the_formulas(
    lengths: list[int], agents: int, others: int, seed: int
) -> None:
    torch.manual_seed(seed)
    agent = EntityAgent(n_features=2, n_actions=3, width=8, heads=2, hidden=4).double()
    steps = PackedSteps.of(observed(lengths))
    inputs = torch.randn(len(steps.step), agents + others, 5, dtype=torch.float64)
    views = torch.rand(len(steps.step), 2, agents, agents + others) < 0.6
    views[:, :, 0] = False  # an agent that is dead all the time
    seen, last = agent.trunk(inputs, views, steps)
    found = seen.features
    parameters, start = dict(agent.trunk.named_parameters()), 0
    for n, length in enumerate(lengths):
        rows = slice(start, start + length)
        start += length
        for v in range(2):
            for i in range(agents):
                expected = nets.trunk(parameters, list(inputs[rows]), i, views[rows, v, i].tolist(), heads=2)
                torch.testing.assert_close(found[rows, v, i], torch.stack(expected))
                if length == max(lengths):
                    torch.testing.assert_close(last[n, v, i], expected[-1])


def test_packed_steps_give_the_features_of_padded_ones() -> None:
    torch.manual_seed(0)
    trunk = EntityAgent(n_features=2, n_actions=3, width=8, heads=2, hidden=4).double().trunk
    mask = observed([2, 4, 1])
    packed, padded = PackedSteps.of(mask), PackedSteps.of(torch.ones_like(mask))
    inputs = torch.randn(12, 4, 5, dtype=torch.float64)
    views = torch.rand(12, 2, 3, 4) < 0.6
    rows = mask.flatten()
    expected, _ = trunk(inputs, views, padded)
    found, _ = trunk(inputs[rows], views[rows], packed)
    torch.testing.assert_close(found.features, expected.features[rows])


def test_pad_and_pack_are_inverse() -> None:
    steps = PackedSteps.of(observed([2, 3]))
    rows = torch.randn(5, 2)
    padded = steps.pad(rows)
    assert padded.shape == (3, 2, 2)
    assert (padded[2, 0] == 0).all()
    torch.testing.assert_close(steps.pack(padded), rows)
    torch.testing.assert_close(padded[0, 1], rows[2])


def test_a_recurrent_state_goes_on_where_it_stopped() -> None:
    torch.manual_seed(0)
    trunk = EntityAgent(n_features=2, n_actions=3, width=8, heads=2, hidden=4).trunk
    inputs, views = torch.randn(2, 3, 5), torch.ones(2, 1, 2, 3, dtype=torch.bool)
    whole, _ = trunk(inputs, views, PackedSteps.of(observed([2])))
    one = PackedSteps.of(observed([1]))
    _, state = trunk(inputs[:1], views[:1], one)
    second, _ = trunk(inputs[1:], views[1:], one, state)
    torch.testing.assert_close(second.features[0], whole.features[1])


def test_the_marginal_policy_equals_the_formulas_and_sees_one_entity_only() -> None:
    torch.manual_seed(0)
    net = MarginalPolicy(n_features=2, n_actions=3, width=8, hidden=4).double()
    steps = PackedSteps.of(observed([3, 1]))
    own = torch.randn(4, 2, 5, dtype=torch.float64)
    found, _ = net(own, steps)
    for rows in (slice(0, 3), slice(3, 4)):
        for i in range(2):
            expected = nets.marginal_logits(dict(net.named_parameters()), list(own[rows, i]))
            torch.testing.assert_close(found[rows, i], torch.stack(expected))
    changed = own.clone()
    changed[:, 1] += 1.0
    torch.testing.assert_close(net(changed, steps)[0][:, 0], found[:, 0])


def test_wrong_shapes_are_refused() -> None:
    net = MarginalPolicy(n_features=2, n_actions=3, width=8, hidden=4)
    with pytest.raises((TypeCheckError, BeartypeCallHintViolation)):
        net(torch.zeros(2, 5), PackedSteps.of(observed([2])))
