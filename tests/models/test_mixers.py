from __future__ import annotations

import plain_networks as nets
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mipi_pl.models.mixers import AttentionMixer, Mixer, SumMixer

CAPACITY = 5


def mixer_case(
    agents: int, others: int, seed: int, *, linear: bool = True, pool: str = "slots", dead: bool = False
) -> tuple[AttentionMixer, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A mixer, and for two steps: inputs, full/within/interact views, agents that act, utilities."""
    torch.manual_seed(seed)
    net = AttentionMixer(2, 3, CAPACITY, width=8, heads=2, mixing=3, linear=linear, pool=pool).double()
    entities = agents + others
    inputs = torch.randn(2, entities, 5, dtype=torch.float64)
    present = torch.rand(2, entities) < 0.7
    present[:, 0] = True
    same = torch.rand(2, agents, entities) < 0.5
    full = present[:, :agents, None] & present[:, None]
    acting = present[:, :agents] & (torch.rand(2, agents) < (0.0 if dead else 0.8))
    utilities = torch.randn(2, 3, agents, dtype=torch.float64)
    return net, inputs, torch.stack((full, full & same, full & ~same), dim=1), acting, utilities


@pytest.mark.parametrize("linear", [True, False], ids=["linear", "elu"])
@pytest.mark.parametrize("pool", ["slots", "present"])
@settings(max_examples=4, deadline=None)
@given(st.integers(1, 3), st.integers(0, 2), st.integers(0, 99), st.booleans())
@example(2, 2, 0, True)
@example(1, 0, 0, False)
def test_joint_values_equal_the_formulas(
    linear: bool, pool: str, agents: int, others: int, seed: int, dead: bool
) -> None:
    net, inputs, views, acting, utilities = mixer_case(agents, others, seed, linear=linear, pool=pool, dead=dead)
    weights = net.weights(inputs, views, acting)
    full = net.mix(utilities[:, :1], weights, [0])
    imagined = net.mix(utilities[:, 1:], weights, [1, 2])
    parameters = dict(net.named_parameters())
    for step in range(2):
        masks = views[step].tolist()
        divide_by = CAPACITY if pool == "slots" else int(views[step, 0].any(-1).sum())
        for found, sets in ((full, [0]), (imagined, [1, 2])):
            pairs = [(list(utilities[step, j]), masks[j]) for j in sets]
            expected = nets.mix(
                parameters, list(inputs[step]), pairs, masks[0], acting[step].tolist(), 2, linear, divide_by
            )
            torch.testing.assert_close(found[step], expected)


@pytest.mark.parametrize("linear", [True, False], ids=["linear", "elu"])
def test_the_joint_value_never_falls_with_a_utility(linear: bool) -> None:
    for seed in range(5):
        net, inputs, views, acting, utilities = mixer_case(3, 2, seed, linear=linear)
        utilities.requires_grad_()
        weights = net.weights(inputs, views, acting)
        (slope,) = torch.autograd.grad(net.mix(utilities, weights, [0, 1, 2]).sum(), utilities)
        assert (slope >= 0).all()
        assert (slope.transpose(1, 2)[acting] > 0).all()
        assert (slope.transpose(1, 2)[~acting] == 0).all()


def test_the_linear_mixers_weights_are_its_slopes() -> None:
    net, inputs, views, acting, utilities = mixer_case(3, 2, 0)
    utilities.requires_grad_()
    weights = net.weights(inputs, views, acting)
    (slope,) = torch.autograd.grad(net.mix(utilities[:, :1], weights, [0]).sum(), utilities)
    torch.testing.assert_close(weights.of_agents(), slope[:, 0])


def test_permuting_entities_changes_no_joint_value() -> None:
    net, inputs, views, acting, utilities = mixer_case(3, 2, 0)
    order, agents = torch.tensor([1, 2, 0, 4, 3]), torch.tensor([1, 2, 0])
    expected = net.mix(utilities[:, 1:], net.weights(inputs, views, acting), [1, 2])
    weights = net.weights(inputs[:, order], views[:, :, agents][..., order], acting[:, agents])
    torch.testing.assert_close(net.mix(utilities[:, 1:][..., agents], weights, [1, 2]), expected)


def test_absent_entities_change_no_joint_value() -> None:
    net, inputs, views, acting, utilities = mixer_case(3, 2, 1)
    absent = ~views[:, 0].any(dim=1)
    assert absent.any()
    changed = torch.where(absent.unsqueeze(-1), 10.0, inputs)
    silent = torch.where(acting.unsqueeze(1), utilities, 10.0)  # nor do utilities of those that do not act
    expected = net.mix(utilities[:, 1:], net.weights(inputs, views, acting), [1, 2])
    torch.testing.assert_close(net.mix(silent[:, 1:], net.weights(changed, views, acting), [1, 2]), expected)


def test_nothing_is_nan_for_a_team_that_is_absent() -> None:
    for pool in ("slots", "present"):
        net, inputs, views, acting, utilities = mixer_case(2, 1, 0, pool=pool)
        joint = net.mix(utilities, net.weights(inputs, torch.zeros_like(views), torch.zeros_like(acting)), [0, 1, 2])
        joint.sum().backward()
        assert torch.isfinite(joint).all()
        assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_sum_mixer_adds_those_that_act() -> None:
    mixer: Mixer = SumMixer(n_features=3, n_kinds=2, n_agents=2)
    views = torch.ones(1, 2, 3, 3, dtype=torch.bool)
    weights = mixer.weights(torch.zeros(1, 3, 1), views, torch.tensor([[True, False, True]]))
    found = mixer.mix(torch.tensor([[[1.0, 2.0, 4.0], [10.0, 20.0, 40.0]]]), weights, [0, 1])
    assert found.tolist() == [55.0]
    assert weights.of_agents().tolist() == [[1.0, 0.0, 1.0]]


def test_another_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="'slots' or 'present', got 'mean'"):
        AttentionMixer(2, 3, CAPACITY, pool="mean")
