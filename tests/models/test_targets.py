"""Heads of target actions: equal to the formula, and independent of order, capacity and hidden entities."""

from __future__ import annotations

from typing import Any

import plain_networks as nets
import pytest
import torch

from mipi_pl.losses.information import log_policy
from mipi_pl.models.agent import EntityAgent
from mipi_pl.models.collaq import CollaQAgent
from mipi_pl.models.marginal import MarginalPolicy
from mipi_pl.models.targets import ActionHead, ActionKinds, PairScores, Perceived, TargetScores
from mipi_pl.spec import EntitySpec

BOTH = ("others", "agents")
KINDS = 5  # three fixed actions, attack, heal


def perceived(agents: int = 2, others: int = 3, steps: int = 4, seed: int = 0) -> Perceived:
    g = torch.Generator().manual_seed(seed)
    entities = agents + others
    return Perceived(
        torch.randn(steps, 2, agents, 6, generator=g, dtype=torch.float64),
        torch.randn(steps, entities, 7, generator=g, dtype=torch.float64),
        torch.rand(steps, 2, agents, entities, generator=g) < 0.7,
    )


def head(pair_units: int, targets: tuple[str, ...] = BOTH) -> ActionHead:
    torch.manual_seed(0)
    sizes = {"hidden": 6, "n_kinds": KINDS, "n_inputs": 7, "width": 8}
    return ActionHead(targets=targets, pair_units=pair_units, **sizes).double()


@pytest.fixture(params=[0, 3], ids=["no pair scores", "pair scores"])
def units(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.mark.parametrize("targets", [(), ("others",), ("agents",), BOTH])
def test_scores_equal_the_formula(targets: tuple[str, ...], units: int) -> None:
    seen, net = perceived(), head(units, targets)
    found, parameters = net(seen), dict(net.named_parameters())
    for row in range(4):
        for v in range(2):
            for i in range(2):
                views = seen.views[row, v, i].tolist()
                state, entities = seen.features[row, v, i], list(seen.entities[row])
                expected = nets.action_scores(parameters, state, entities, views, 2, targets, i)
                torch.testing.assert_close(found[row, v, i], expected)
    one_view = net(seen.view(1))
    torch.testing.assert_close(one_view, found[:, 1])


def test_enemies_in_another_order_have_their_scores_in_that_order(units: int) -> None:
    seen, net, order = perceived(), head(units), torch.tensor([2, 0, 1])
    slots = torch.cat((torch.arange(2), 2 + order))
    found = net(Perceived(seen.features, seen.entities[:, slots], seen.views[..., slots]))
    actions = torch.cat((torch.arange(3), 3 + order, torch.tensor([6, 7])))
    torch.testing.assert_close(found, net(seen)[..., actions], rtol=0.0, atol=1e-12)
    assert not torch.allclose(found, net(seen))


def test_an_entity_that_is_not_shown_changes_nothing_and_has_the_score_of_its_kind(units: int) -> None:
    seen, net = perceived(), head(units)
    seen.views[..., 3] = False
    moved = Perceived(seen.features, seen.entities.clone(), seen.views)
    moved.entities[:, 3] += 100.0
    assert torch.equal(net(moved), net(seen))
    kinds = torch.nn.functional.linear(seen.features, net.weight, net.bias)
    torch.testing.assert_close(net(seen)[..., 4], kinds[..., 3])


def test_more_empty_slots_change_no_score_and_targets_that_cannot_be_had_have_probability_0(units: int) -> None:
    seen, net = perceived(), head(units)
    empty = torch.zeros(4, 2, 7, dtype=torch.float64)
    entities = torch.cat((seen.entities, empty), dim=1)
    views = torch.nn.functional.pad(seen.views, (0, 2))
    wide, narrow = net(Perceived(seen.features, entities, views)), net(seen)
    kept = torch.tensor([0, 1, 2, 3, 4, 5, 8, 9])
    assert torch.equal(wide[..., kept], narrow)
    available = torch.ones_like(wide, dtype=torch.bool)
    available[..., [4, 6, 7]] = False
    policy = log_policy(wide, available).exp()
    assert (policy[..., [4, 6, 7]] == 0).all()
    torch.testing.assert_close(policy.sum(dim=-1), torch.ones_like(policy[..., 0]))


def spec(capacity: int) -> EntitySpec:
    actions = 3 + 2 * capacity
    return EntitySpec(capacity, 2 * capacity, n_features=4, n_actions=actions, max_steps=5, targets=BOTH)


def test_pair_scores_tell_the_near_from_the_far_which_a_dot_product_cannot() -> None:
    """Two units, relu(x_j - x_i) and relu(x_i - x_j), each weighed with -1: minus the distance."""
    scores = PairScores(hidden=1, n_inputs=1, units=2).double()
    for layer, weight in ((scores.target, [1.0, -1.0]), (scores.own, [-1.0, 1.0]), (scores.weigh, [0.0, 0.0])):
        layer.weight.data = torch.tensor(weight, dtype=torch.float64).unsqueeze(1)
    scores.target.bias.data.zero_()
    scores.weigh.bias.data.fill_(-(2.0**0.5))
    entities = torch.tensor([[[1.0], [6.0], [4.0], [0.0]]], dtype=torch.float64)
    seen = Perceived(torch.zeros(1, 2, 1, dtype=torch.float64), entities, torch.ones(1, 2, 4, dtype=torch.bool))
    found = PairScores.total(*scores(seen, entities[:, 2:4]))
    assert found.tolist() == [[[pytest.approx([-3.0, -1.0]), pytest.approx([-2.0, -6.0])]]]


def test_pair_scores_of_no_target_are_none() -> None:
    seen = Perceived(torch.zeros(3, 2, 4), torch.zeros(3, 2, 7), torch.ones(3, 2, 2, dtype=torch.bool))
    scores = TargetScores(hidden=4, n_inputs=7, width=8, pair_units=3)
    assert scores(seen, slice(2, 2)).shape == (3, 2, 0)
    with pytest.raises(ValueError, match="pair_units must be at least 1"):
        PairScores(hidden=4, n_inputs=7, units=0)


@pytest.mark.parametrize("network", [EntityAgent, CollaQAgent, MarginalPolicy])
def test_weights_have_the_same_shapes_for_every_capacity(network: Any) -> None:
    shapes = []
    for world in (spec(3), spec(27)):
        net = network(world.n_features, world.n_kinds, width=8, hidden=6, targets=world.targets)
        shapes.append({name: value.shape for name, value in net.state_dict().items()})
    assert shapes[0] == shapes[1]
    assert all(27 not in shape and 54 not in shape for shape in shapes[0].values())


def test_an_agent_that_sees_itself_alone_scores_all_targets_of_a_kind_alike() -> None:
    found = ActionHead(hidden=6, n_kinds=KINDS, targets=BOTH).double()(perceived())
    assert found.shape[-1] == 3 + 3 + 2
    assert (found[..., 3:6] == found[..., 3:4]).all()
    assert (found[..., 6:8] == found[..., 6:7]).all()
    assert not torch.equal(found[..., 3], found[..., 6])


def test_kinds_of_actions_and_what_is_left_of_them_when_slots_are_cut_off() -> None:
    kinds = ActionKinds(KINDS, BOTH)
    assert kinds.of_actions(n_agents=2, n_entities=5).tolist() == [0, 1, 2, 3, 3, 3, 4, 4, 5]
    assert kinds.kept(full=(2, 5), cut=(1, 3)).tolist() == [0, 1, 2, 3, 4, 6]
    assert kinds.kept(full=(2, 5), cut=(2, 5)).tolist() == list(range(8))
    assert ActionKinds(4).kept(full=(2, 5), cut=(1, 1)).tolist() == [0, 1, 2, 3]


def test_targets_that_do_not_fit_the_actions_are_refused() -> None:
    for wrong in ({"targets": ("enemies",)}, {"targets": ("others", "agents", "others")}):
        with pytest.raises(ValueError, match="targets must be of 'agents' and 'others'"):
            EntitySpec(2, 5, n_features=1, n_actions=8, max_steps=1, **wrong)
