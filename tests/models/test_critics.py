from __future__ import annotations

import plain_ppo
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mipi_pl.models import fused
from mipi_pl.models.critics import EntityCritic
from mipi_pl.models.packing import PackedSteps

CAPACITY = 6


def values(critic: EntityCritic, inputs: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Of states that have nothing to do with each other."""
    found: torch.Tensor = critic(inputs, present, PackedSteps.from_mask(torch.ones(len(inputs), 1, dtype=torch.bool)))[
        0
    ]
    return found


def case(entities: int, seed: int, hidden: int = 4) -> tuple[EntityCritic, torch.Tensor, torch.Tensor]:
    """A critic, and for three states inputs and present entities; nobody is present in the last."""
    torch.manual_seed(seed)
    critic = EntityCritic(n_features=2, n_kinds=3, n_entities=CAPACITY, width=8, heads=2, hidden=hidden).double()
    present = torch.rand(3, entities) < 0.7
    present[-1] = False
    return critic, torch.randn(3, entities, 5, dtype=torch.float64), present


@settings(max_examples=6, deadline=None)
@given(st.integers(1, CAPACITY), st.integers(0, 99))
@example(1, 0)
def test_values_equal_the_formulas(entities: int, seed: int) -> None:
    critic, inputs, present = case(entities, seed)
    parameters = dict(critic.named_parameters())
    rows, masks = [list(row) for row in inputs], present.tolist()
    expected, _ = plain_ppo.critic_values(parameters, rows, masks, heads=2, divide_by=CAPACITY)
    torch.testing.assert_close(values(critic, inputs, present), torch.stack(expected))


def test_the_order_of_the_entities_does_not_matter() -> None:
    critic, inputs, present = case(5, 0)
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(values(critic, inputs[:, order], present[:, order]), values(critic, inputs, present))


def test_absent_entities_change_nothing_and_may_be_cut_off() -> None:
    critic, inputs, present = case(5, 0)
    present[:, 3] = False
    changed = torch.where(present.unsqueeze(-1), inputs, 50.0)
    torch.testing.assert_close(values(critic, changed, present), values(critic, inputs, present))
    kept = torch.tensor([0, 1, 2, 4])
    torch.testing.assert_close(values(critic, inputs[:, kept], present[:, kept]), values(critic, inputs, present))


def test_every_present_entity_and_how_many_there_are_matters() -> None:
    critic, inputs, _ = case(4, 0, hidden=32)
    everyone = torch.ones(3, 4, dtype=torch.bool)
    value = values(critic, inputs, everyone)
    for j in range(4):
        changed = inputs.clone()
        changed[:, j] += 1.0
        assert (values(critic, changed, everyone) != value).all()
    same = inputs[:, :1].expand(-1, 4, -1)
    fewer = everyone.clone()
    fewer[:, 2:] = False
    assert (values(critic, same, fewer) != values(critic, same, everyone)).all()


def test_the_kernels_give_the_values_and_gradients_of_plain_pytorch() -> None:
    critic, inputs, present = case(5, 0)
    critic, inputs = critic.float(), inputs.float()
    found = []
    for on in (True, False):
        fused.enable(on)
        try:
            value = values(critic, inputs, present)
            found.append([value.detach(), *torch.autograd.grad(value.square().sum(), critic.parameters())])
        finally:
            fused.enable(True)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("with_state", [False, True])
def test_a_recurrent_critic_is_a_loop_over_the_steps_of_each_sequence(with_state: bool) -> None:
    torch.manual_seed(0)
    sizes = {"n_features": 2, "n_kinds": 3, "n_entities": CAPACITY, "width": 8, "heads": 2, "hidden": 4}
    critic = EntityCritic(**sizes, recurrent=True).double()
    steps = PackedSteps.from_mask(torch.arange(4) < torch.tensor([[3], [1], [4]]))
    inputs, present = torch.randn(8, 5, 5, dtype=torch.float64), torch.rand(8, 5) < 0.7
    state = torch.randn(3, 4, dtype=torch.float64) if with_state else None
    value, states = critic(inputs, present, steps, state)
    parameters = dict(critic.named_parameters())
    for n, (first, end) in enumerate(zip(steps.starts.tolist(), steps.starts.tolist()[1:], strict=False)):
        rows, masks = [list(row) for row in inputs[first:end]], present[first:end].tolist()
        before = None if state is None else state[n]
        expected, after = plain_ppo.critic_values(parameters, rows, masks, 2, CAPACITY, before)
        torch.testing.assert_close(value[first:end], torch.stack(expected))
        torch.testing.assert_close(states[first:end], torch.stack(after))


def test_a_critic_without_recurrence_has_no_states() -> None:
    critic, inputs, present = case(5, 0)
    assert critic(inputs, present, PackedSteps.from_mask(torch.ones(1, 3, dtype=torch.bool)))[1] is None


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"hidden": 0}, "hidden=0"), ({"n_entities": 0}, "n_entities=0"), ({"width": 10, "heads": 4}, "must divide")],
)
def test_impossible_sizes_are_refused(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EntityCritic(**{"n_features": 2, "n_kinds": 3, "n_entities": 4, **sizes})
