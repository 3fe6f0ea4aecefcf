"""Agents that do not act and entities that no acting agent sees are left out of a batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mipi_pl.models.agent import EntityAgent
from mipi_pl.models.attention import EntityAttention
from mipi_pl.models.marginal import MarginalPolicy
from mipi_pl.models.mixers import AttentionMixer
from mipi_pl.models.packing import AgentRows, EntityRows, PackedSteps


def test_rows_of_agents_stand_by_step_and_pad_is_the_inverse_of_pack() -> None:
    which = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    rows = AgentRows.from_mask(which)
    assert rows.step.tolist() == [0, 0, 2]
    assert rows.agent.tolist() == [0, 2, 1]
    assert rows.starts.tolist() == [0, 2, 2, 3]
    padded = torch.randn(3, 2, 3, 4)
    kept = rows.pad(rows.pack(padded))
    assert torch.equal(kept, torch.where(which[:, None, :, None], padded, 0.0))
    everyone = AgentRows.from_mask(torch.ones_like(which))
    assert torch.equal(everyone.pad(everyone.pack(padded)), padded)


def test_who_acts_must_be_known_of_these_steps_and_agents() -> None:
    steps = PackedSteps.from_mask(torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="each of 2 steps, got 3"):
        steps.with_acting(torch.ones(3, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"expected 4 agents.*got 3"):
        steps.with_acting(torch.ones(2, 3, dtype=torch.bool)).agents(4)


def test_entities_are_the_agents_that_are_asked_then_what_they_see_under_any_view() -> None:
    views = torch.zeros(2, 2, 2, 4, dtype=torch.bool)
    views[0, 0, 1, 1] = views[0, 0, 1, 3] = views[0, 1, 1, 0] = True  # agent 1 sees itself, 3, and under another view 0
    views[0, 0, 0, 2] = True  # what agent 0 sees, which is not asked
    rows = EntityRows.from_views(views, AgentRows.from_mask(torch.tensor([[False, True], [False, False]])))
    assert rows.entity.tolist() == [1, 0, 3]
    assert rows.row.tolist() == [1, 0, 3]
    assert rows.starts.tolist() == [0, 3, 3]
    assert rows.of_asked.tolist() == [0]


@pytest.fixture
def scene() -> tuple[Tensor, Tensor, Tensor]:
    """Two episodes of 4 and 2 steps: inputs [6, 5, 6], views [6, 2, 3, 5] and who acts [6, 3]; agent 1 comes back."""
    torch.manual_seed(0)
    acting = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=torch.bool)
    views = torch.rand(6, 2, 3, 5) < 0.5
    views[:, 0].diagonal(dim1=-2, dim2=-1)[:] = True
    return torch.randn(6, 5, 6), views & acting[:, None, :, None], acting


def steps_of(acting: Tensor) -> PackedSteps:
    return PackedSteps.from_mask(torch.tensor([[True] * 4, [True, True, False, False]])).with_acting(acting)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # with the kernels and with plain PyTorch
def test_an_agent_goes_on_from_its_last_step_and_has_zeros_where_it_does_not_act(
    scene: tuple[Tensor, Tensor, Tensor], dtype: torch.dtype
) -> None:
    inputs, views, acting = scene
    trunk = EntityAgent(n_features=4, n_kinds=2, width=32, heads=2, hidden=16).trunk.to(dtype)
    found, last = trunk(inputs.to(dtype), views, steps_of(acting))
    assert (found.features[~acting[:, None].expand(6, 2, 3)] == 0).all()
    for first, end, episode in ((0, 4, 0), (4, 6, 1)):
        for agent in range(3):
            rows = [row for row in range(first, end) if acting[row, agent]]
            alone = PackedSteps.from_mask(torch.ones(1, max(1, len(rows)), dtype=torch.bool))
            if not rows:
                assert (last[episode, :, agent] == 0).all()
                continue
            expected, state = trunk(inputs[rows].to(dtype), views[rows], alone)
            torch.testing.assert_close(found.features[rows, :, agent], expected.features[:, :, agent])
            torch.testing.assert_close(last[episode, :, agent], state[0, :, agent])


def test_a_learner_and_an_actor_have_the_same_states(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    inputs, views, acting = scene
    trunk = EntityAgent(n_features=4, n_kinds=2, width=32, heads=2, hidden=16).trunk
    whole, _ = trunk(inputs, views, steps_of(acting))
    state = None
    for row in range(4):
        one = PackedSteps.from_mask(torch.ones(1, 1, dtype=torch.bool)).with_acting(acting[row : row + 1])
        seen, state = trunk(inputs[row : row + 1], views[row : row + 1], one, state)
        torch.testing.assert_close(seen.features[0], whole.features[row])


def test_the_marginal_of_agents_that_act_does_not_depend_on_the_others(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    inputs, _, acting = scene
    net = MarginalPolicy(n_features=4, n_kinds=2, width=32, hidden=16)
    steps = steps_of(acting)
    found, _ = net(inputs[:, :3], steps, n_entities=5)
    changed = torch.where(acting.unsqueeze(-1), inputs[:, :3], 10.0)
    assert torch.equal(net(changed, steps, n_entities=5)[0], found)
    assert not torch.allclose(net(changed, steps.with_acting(torch.ones_like(acting)), n_entities=5)[0], found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_nobody_sees_may_be_anything(scene: tuple[Tensor, Tensor, Tensor], dtype: torch.dtype) -> None:
    inputs, views, acting = scene
    views[..., 4] = False
    unseen = inputs.clone()
    unseen[:, 4] = 1e3
    net = EntityAttention(n_inputs=6, width=32, heads=2).to(dtype)
    agents = AgentRows.from_mask(acting)
    expected = net.of_agents(inputs.to(dtype), views, agents)
    torch.testing.assert_close(net.of_agents(unseen.to(dtype), views, agents), expected)
    mixer = AttentionMixer(n_features=4, n_kinds=2, n_agents=3, width=32, heads=2, mixing=4).to(dtype)
    weights = [mixer.weights(x.to(dtype), views, acting) for x in (inputs, unseen)]
    for name in ("first", "bias", "final", "value"):
        torch.testing.assert_close(getattr(weights[0], name), getattr(weights[1], name))
    assert (weights[0].first.sum(dim=-1)[~acting[:, None].expand(6, 2, 3)] == 0).all()
    torch.testing.assert_close(weights[0].first.sum(dim=-1)[:, 0][acting], torch.ones(int(acting.sum()), dtype=dtype))
