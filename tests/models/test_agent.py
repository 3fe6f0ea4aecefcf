from __future__ import annotations

from typing import Any

import plain_networks as nets
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from mipi_pl.models.agent import Agent, EntityAgent
from mipi_pl.models.collaq import CollaQAgent
from mipi_pl.models.marginal import MarginalPolicy
from mipi_pl.models.packing import PackedSteps

ENTITY = {"own_path": True, "normalize": True, "pair_units": 3}
BOTH = ("others", "agents")


def spread(net: torch.nn.Module) -> None:
    """Move gains and shifts of normalised layers away from 1 and 0."""
    for layer in net.modules():
        if isinstance(layer, torch.nn.LayerNorm):
            torch.nn.init.normal_(layer.weight, 1.0, 0.3)
            torch.nn.init.normal_(layer.bias, 0.0, 0.3)


def observed(lengths: list[int]) -> torch.Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(-1)


@settings(max_examples=6, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 99),
    st.booleans(),
    st.booleans(),
)
@example([1], 1, 0, 0, False, False)
@example([1, 3], 2, 2, 0, False, False)
@example([1, 3], 2, 2, 0, True, True)
def test_features_of_every_episode_view_and_agent_equal_the_formulas(
    lengths: list[int], agents: int, others: int, seed: int, own_path: bool, normalize: bool
) -> None:
    torch.manual_seed(seed)
    options = {"own_path": own_path, "normalize": normalize}
    agent = EntityAgent(n_features=2, n_kinds=3, width=8, heads=2, hidden=4, **options).double()
    spread(agent)
    steps = PackedSteps.from_mask(observed(lengths))
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
                expected, state = nets.trunk(parameters, list(inputs[rows]), i, views[rows, v, i].tolist(), heads=2)
                torch.testing.assert_close(found[rows, v, i], torch.stack(expected))
                torch.testing.assert_close(last[n, v, i], state)


def test_packed_steps_give_the_features_of_padded_ones() -> None:
    torch.manual_seed(0)
    trunk = EntityAgent(n_features=2, n_kinds=3, width=8, heads=2, hidden=4).double().trunk
    mask = observed([2, 4, 1])
    packed, padded = PackedSteps.from_mask(mask), PackedSteps.from_mask(torch.ones_like(mask))
    inputs = torch.randn(12, 4, 5, dtype=torch.float64)
    views = torch.rand(12, 2, 3, 4) < 0.6
    rows = mask.flatten()
    expected, _ = trunk(inputs, views, padded)
    found, _ = trunk(inputs[rows], views[rows], packed)
    torch.testing.assert_close(found.features, expected.features[rows])


def test_pad_and_pack_are_inverse() -> None:
    steps = PackedSteps.from_mask(observed([2, 3]))
    rows = torch.randn(5, 2)
    padded = steps.pad(rows)
    assert padded.shape == (3, 2, 2)
    assert (padded[2, 0] == 0).all()
    torch.testing.assert_close(steps.pack(padded), rows)
    torch.testing.assert_close(padded[0, 1], rows[2])


def test_a_recurrent_state_goes_on_where_it_stopped() -> None:
    torch.manual_seed(0)
    trunk = EntityAgent(n_features=2, n_kinds=3, width=8, heads=2, hidden=4).trunk
    inputs, views = torch.randn(2, 3, 5), torch.ones(2, 1, 2, 3, dtype=torch.bool)
    whole, _ = trunk(inputs, views, PackedSteps.from_mask(observed([2])))
    one = PackedSteps.from_mask(observed([1]))
    _, state = trunk(inputs[:1], views[:1], one)
    second, _ = trunk(inputs[1:], views[1:], one, state)
    torch.testing.assert_close(second.features[0], whole.features[1])


@pytest.mark.parametrize("normalize", [False, True])
def test_the_marginal_policy_equals_the_formulas_and_sees_one_entity_only(normalize: bool) -> None:
    torch.manual_seed(0)
    net = MarginalPolicy(n_features=2, n_kinds=3, width=8, hidden=4, normalize=normalize).double()
    spread(net)
    steps = PackedSteps.from_mask(observed([3, 1]))
    own = torch.randn(4, 2, 5, dtype=torch.float64)
    found, _ = net(own, steps, n_entities=2)
    for rows in (slice(0, 3), slice(3, 4)):
        for i in range(2):
            expected, _ = nets.marginal_logits(dict(net.named_parameters()), list(own[rows, i]))
            torch.testing.assert_close(found[rows, i], torch.stack(expected))
    changed = own.clone()
    changed[:, 1] += 1.0
    torch.testing.assert_close(net(changed, steps, n_entities=2)[0][:, 0], found[:, 0])


def test_wrong_shapes_are_refused() -> None:
    net = MarginalPolicy(n_features=2, n_kinds=3, width=8, hidden=4)
    with pytest.raises((TypeCheckError, BeartypeCallHintViolation)):
        net(torch.zeros(2, 5), PackedSteps.from_mask(observed([2])), n_entities=2)


# ------------------------------------------------------------------ own path, pair scores and LayerNorm together


def scene() -> tuple[torch.Tensor, torch.Tensor, PackedSteps]:
    """Inputs of 3 agents and 2 others in two episodes, and a view of all that is seen."""
    g = torch.Generator().manual_seed(1)
    steps = PackedSteps.from_mask(observed([3, 2]))
    view = torch.rand(5, 3, 5, generator=g) < 0.8
    view.diagonal(dim1=1, dim2=2).fill_(True)
    return torch.randn(5, 5, 7, generator=g, dtype=torch.float64), view, steps


def strong(kind: Any = EntityAgent, **options: Any) -> Any:
    """An agent of five kinds of action: three fixed ones, one that aims at others, one that aims at agents."""
    torch.manual_seed(0)
    sizes = {"n_features": 2, "n_kinds": 5, "width": 8, "heads": 2, "hidden": 4, "targets": BOTH}
    agent = kind(**{**sizes, **ENTITY, **options}).double()
    spread(agent)
    return agent


def utilities(agent: Any, inputs: torch.Tensor, views: torch.Tensor, steps: PackedSteps) -> torch.Tensor:
    """[L, V, A, 3 + others + agents]."""
    found: torch.Tensor = agent.utilities(agent.trunk(inputs, views, steps)[0])
    return found


@pytest.mark.parametrize("kind", [EntityAgent, CollaQAgent])
def test_agents_and_others_in_another_order_have_their_utilities_in_that_order(kind: Any) -> None:
    inputs, view, steps = scene()
    agents, others = torch.tensor([2, 0, 1]), torch.tensor([1, 0])
    slots = torch.cat((agents, 3 + others))
    actions = torch.cat((torch.arange(3), 3 + others, 5 + agents))
    agent = strong(kind)
    found = utilities(agent, inputs[:, slots], view[:, agents][..., slots].unsqueeze(1), steps)
    expected = utilities(agent, inputs, view.unsqueeze(1), steps)
    torch.testing.assert_close(found, expected[:, :, agents][..., actions], rtol=0.0, atol=1e-12)
    assert not torch.allclose(found, expected)


@pytest.mark.parametrize("kind", [EntityAgent, CollaQAgent])
def test_what_an_imaginary_view_hides_leaks_into_no_utility(kind: Any) -> None:
    """Agents 0 and 1 and entity 3 are one group; agent 2 and entity 4 are unknown to it, however they change."""
    inputs, view, steps = scene()
    group = torch.tensor([True, True, False, True, False])
    same = group[:3, None] == group[None, :]
    views = torch.stack((view, view & same, view & ~same | torch.eye(3, 5, dtype=torch.bool)), dim=1)
    changed = inputs.clone()
    changed[:, ~group] += 10.0
    agent = strong(kind)
    found, expected = utilities(agent, changed, views, steps), utilities(agent, inputs, views, steps)
    assert torch.equal(found[:, 1, :2], expected[:, 1, :2])
    assert not torch.allclose(found[:, 0, :2], expected[:, 0, :2])
    inside = inputs.clone()
    inside[:, 1] += 10.0  # of its own group, but not in the other view of agent 0
    inside[:, 3] += 10.0
    assert torch.equal(utilities(agent, inside, views, steps)[:, 2, 0], expected[:, 2, 0])


def test_more_empty_slots_change_nothing() -> None:
    inputs, view, steps = scene()
    wide = torch.cat((inputs, torch.zeros(5, 2, 7, dtype=torch.float64)), dim=1)
    agent = strong()
    found = utilities(agent, wide, torch.nn.functional.pad(view, (0, 2)).unsqueeze(1), steps)
    kept = torch.tensor([0, 1, 2, 3, 4, 7, 8, 9])
    torch.testing.assert_close(found[..., kept], utilities(agent, inputs, view.unsqueeze(1), steps), rtol=0, atol=1e-12)


def test_an_agent_that_sees_its_own_entity_only_has_no_pair_scores() -> None:
    inputs, view, steps = scene()
    agent = strong(own_entity_only=True)
    assert not [name for name, _ in agent.named_parameters() if "pairs" in name]
    found = utilities(agent, inputs, view.unsqueeze(1), steps)
    changed = inputs.clone()
    changed[:, 1:] += 10.0
    assert torch.equal(utilities(agent, changed, view.unsqueeze(1), steps)[:, :, 0], found[:, :, 0])
    assert (found[..., 3] == found[..., 4]).all()


def test_each_part_of_the_network_is_an_option_of_its_own() -> None:
    plain = {name for name, _ in strong(own_path=False, normalize=False, pair_units=0).named_parameters()}
    more = {"own_path": "trunk.own.", "normalize": "_norm.", "pair_units": ".pairs."}
    for option, part in more.items():
        options = {name: ENTITY[name] if name == option else type(ENTITY[name])(0) for name in more}
        added = {name for name, _ in strong(**options).named_parameters()} - plain
        assert added
        assert all(part in name for name in added)


def test_an_agent_whose_policy_would_be_ignored_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^Own\.policy is not used: set self\.policy_logits"):
        type("Own", (Agent,), {"policy": property(lambda self: self.head)})
