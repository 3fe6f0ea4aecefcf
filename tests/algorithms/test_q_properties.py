"""Properties of a learning step of the value-based learners on random batches."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from worlds import Sizes, drive, parameters_of, random_batch, small_q

from mipi_pl import spec as keys
from mipi_pl.algorithms.base import _FORMER_METHODS, EntityAlgorithm
from mipi_pl.algorithms.batch import EpisodeBatch
from mipi_pl.algorithms.q_learning import QLearning
from mipi_pl.run.learner import check_optimizers
from mipi_pl.utils.errors import UserError


def step(kind: str, **options: Any) -> tuple[dict[str, torch.Tensor], set[str]]:
    """What one update logs, and which parts of the networks it moves, two names deep."""
    algorithm = small_q(Sizes().spec, kind, **options).double()
    before = {name: value.detach().clone() for name, value in algorithm.named_parameters()}
    (logged,) = drive(algorithm, [random_batch(Sizes())])
    changed = {name for name, value in algorithm.named_parameters() if not torch.equal(value, before[name])}
    return logged, {".".join(name.split(".")[:2]) for name in changed}


def test_one_optimizer_moves_agent_and_mixer_and_no_target() -> None:
    assert step("vdn")[1] == {"agent.trunk", "agent.utilities"}
    mixer = {f"mixer.{name}" for name in ("first", "bias", "final", "value")}
    assert step("refil")[1] == {"agent.trunk", "agent.utilities"} | mixer


def test_no_imaginary_partition_is_needed_without_its_objective() -> None:
    batch = random_batch(Sizes()).exclude(keys.GROUPS)
    for kind, needed in (("aqmix", 0), ("vdn", 0), ("collaq", 0), ("refil", 1)):
        algorithm = small_q(Sizes().spec, kind).double()
        assert algorithm.partitions_per_batch == needed
        if not needed:
            drive(algorithm, [batch])


def test_the_best_action_is_the_networks_and_its_value_the_targets() -> None:
    """Not the largest utility of the target network, which is what makes it double Q-learning."""
    s = Sizes(absent=((), (), ()))
    algorithm = small_q(s.spec, "vdn", gamma=1.0).double()
    b = EpisodeBatch.from_tensordict(random_batch(s), s.spec, truncation_is_terminal=False)
    seen = algorithm._perceive(b, b.visible.unsqueeze(1)).view(0)
    own = algorithm.agent.utilities(seen)
    target = algorithm.target_utilities(b)
    found = algorithm.td_targets(b, seen)
    differs = 0
    for k, row in enumerate(b.played.tolist()):
        value = largest = 0.0
        for i in range(s.n_agents):
            allowed = [u for u in range(s.n_actions) if b.available[row + 1, i, u]]
            if b.acting[row + 1, i] and not b.terminal[row]:
                value += float(target[row + 1, i, max(allowed, key=own[row + 1, i].tolist().__getitem__)])
                largest += max(float(target[row + 1, i, u]) for u in allowed)
        assert float(found[k]) == pytest.approx(float(b.reward[row]) + value, abs=1e-9)
        differs += value != largest
    assert differs > 0


def test_mara_presses_q_collab_to_nothing_where_no_other_agent_is_seen() -> None:
    batch = random_batch(Sizes())

    def mara(weight: float) -> list[float]:
        optimizer = partial(torch.optim.Adam, lr=1e-2)
        algorithm = small_q(Sizes().spec, "collaq", mara_weight=weight, optimizer=optimizer).double()
        return [float(logged["loss/mara"]) for logged in drive(algorithm, [batch] * 60)]

    free, pressed = mara(0.0), mara(50.0)
    assert free[0] == pressed[0]
    assert pressed[-1] < 0.05 * min(pressed[0], free[-1])


def test_q_collab_differs_from_its_alone_view_only_by_the_other_agents() -> None:
    s = Sizes(absent=((), (), ()))
    algorithm = small_q(s.spec, "collaq").double()

    def parts(batch: Any) -> tuple[torch.Tensor, ...]:
        b = EpisodeBatch.from_tensordict(batch, s.spec, truncation_is_terminal=True)
        seen, alone = algorithm.agent.trunk.attributed(b.inputs, b.visible.unsqueeze(1), b.steps)
        same = algorithm._perceive(b, b.visible.unsqueeze(1))
        torch.testing.assert_close(seen.features, same.features)
        return *seen.features[:, 0, 0].chunk(2, dim=-1), alone.features[:, 0, 0]

    batch, moved, hidden = random_batch(s), random_batch(s), random_batch(s)
    moved["entities"][:, :, 1 : s.n_agents] += 1.0
    hidden["agents", "visible"][:, :, 0, 1 : s.n_agents] = False
    (alone, collab, collab_alone), (alone_2, collab_2, collab_alone_2) = parts(batch), parts(moved)
    torch.testing.assert_close(alone_2, alone, rtol=0.0, atol=0.0)
    torch.testing.assert_close(collab_alone_2, collab_alone, rtol=0.0, atol=0.0)
    assert not torch.allclose(collab_2, collab)
    _, collab_3, collab_alone_3 = parts(hidden)
    torch.testing.assert_close(collab_3, collab_alone_3)
    torch.testing.assert_close(collab_alone_3, collab_alone)


@pytest.mark.parametrize(
    ("kind", "option"), [("refil", "gamma"), ("refil", "imaginary_weight"), ("collaq", "mara_weight")]
)
def test_values_out_of_range_are_refused(kind: str, option: str) -> None:
    with pytest.raises(ValueError, match=f"algorithm.{option} must be"):
        small_q(Sizes().spec, kind, **{option: -0.5})


@pytest.mark.parametrize("names", [("critic", "policy"), ()])
def test_each_optimizer_must_have_a_name(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QLearning, "optimizer_names", names)
    with pytest.raises(UserError, match=r"QLearning\.optimizer_names must have a name for each .*: expected 1, got"):
        check_optimizers(small_q(Sizes().spec))
    monkeypatch.delattr(QLearning, "optimizer_names")
    with pytest.raises(UserError, match="expected 1, got none"):
        check_optimizers(small_q(Sizes().spec))


def test_targets_become_the_networks() -> None:
    algorithm: QLearning = small_q(Sizes().spec, "collaq")
    algorithm.update_targets()
    for network, target in ((algorithm.agent, algorithm.target_agent), (algorithm.mixer, algorithm.target_mixer)):
        for one, other in zip(network.parameters(), target.parameters(), strict=True):
            assert torch.equal(one, other)
    assert not any(p.requires_grad for p in algorithm.target_agent.parameters())
    assert parameters_of(algorithm)


def test_without_target_networks_there_are_no_copies_and_nothing_to_refresh() -> None:
    algorithm = small_q(Sizes().spec, target_networks=False)
    assert not algorithm.awaits_target_updates
    assert not [name for name in algorithm.state_dict() if name.startswith("target")]
    before = {name: value.clone() for name, value in algorithm.state_dict().items()}
    algorithm.update_targets()
    assert all(torch.equal(value, before[name]) for name, value in algorithm.state_dict().items())


def test_target_networks_that_have_just_been_copied_give_the_update_without_them() -> None:
    batch = random_batch(Sizes(), partitions=1)
    found = []
    for target_networks in (True, False):
        algorithm = small_q(Sizes().spec, target_networks=target_networks).double()
        algorithm.update_targets()
        found += drive(algorithm, [batch.clone()])
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, msg=name)


@pytest.mark.parametrize("name", ["_td_targets", "_loss", "_bootstrapped", "_target_utilities"])
def test_a_method_with_a_former_name_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=rf"^Mine\.{name} is never called: its name is now {_FORMER_METHODS[name]}$"):
        type("Mine", (QLearning,), {name: lambda self: None})
    with pytest.raises(TypeError, match=rf"^Mixin\.{name} is never called"):
        type("Mine", (type("Mixin", (), {name: lambda self: None}), QLearning), {})
    type("Mine", (QLearning,), {name: lambda self: None, _FORMER_METHODS[name]: lambda self: None})  # a helper
    type("Mine", (EntityAlgorithm,), {name: lambda self: None})  # which has no such method
