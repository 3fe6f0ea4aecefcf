"""Which parameters a learning step of MIPI moves, and how far."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from worlds import Sizes, drive, learn, parameters_of, random_batch, small_mipi

from mipi_pl.algorithms.mipi import MIPI


def moved(algorithm: MIPI, step: Any) -> set[str]:
    """Names of the parts whose parameters, targets included, change in `step`."""
    before = {name: value.detach().clone() for name, value in algorithm.named_parameters()}
    step()
    return {
        ".".join(name.split(".")[: 2 if name.startswith(("agent", "target_agent")) else 1])
        for name, value in algorithm.named_parameters()
        if not torch.equal(value, before[name])
    }


@pytest.mark.parametrize("moves_trunk", [False, True])
def test_each_optimizer_moves_its_own_parameters_and_no_others(moves_trunk: bool) -> None:
    batch = random_batch(Sizes())
    algorithm = small_mipi(Sizes().spec, policy_moves_trunk=moves_trunk, alpha=0.5).double()
    critic, marginal, policy = algorithm.configure_optimizers()
    for optimizer, parts in (
        (critic, {"agent.trunk", "agent.utilities", "mixer"}),
        (marginal, {"marginal"}),
        (policy, {"agent.policy_logits"} | ({"agent.trunk"} if moves_trunk else set())),
    ):
        alone = small_mipi(Sizes().spec, policy_moves_trunk=moves_trunk, alpha=0.5).double()
        rates = [0.1 if other is optimizer else 0.0 for other in (critic, marginal, policy)]
        alone._optimizer_factories = tuple(
            lambda parameters, lr=rate: torch.optim.SGD(parameters, lr=lr) for rate in rates
        )
        assert moved(alone, lambda alone=alone: drive(alone, [batch])) == parts


def test_targets_move_with_update_targets_only_and_become_the_networks() -> None:
    batch = random_batch(Sizes())
    algorithm = small_mipi(Sizes().spec).double()
    assert not any(part.startswith("target") for part in moved(algorithm, lambda: drive(algorithm, [batch, batch])))
    assert moved(algorithm, algorithm.update_targets) == {
        "target_mixer",
        "target_agent.trunk",
        "target_agent.utilities",
        "target_agent.policy_logits",
    }
    for network, target in ((algorithm.agent, algorithm.target_agent), (algorithm.mixer, algorithm.target_mixer)):
        for one, other in zip(network.parameters(), target.parameters(), strict=True):
            assert torch.equal(one, other)
            assert not other.requires_grad
            assert one.data_ptr() != other.data_ptr()


def test_updates_are_counted_and_saved() -> None:
    batch = random_batch(Sizes())
    algorithm = small_mipi(Sizes().spec).double()
    drive(algorithm, [batch] * 3)
    assert algorithm.updates == 3
    restored = small_mipi(Sizes().spec, seed=1).double()
    restored.load_state_dict(algorithm.state_dict())
    assert restored.updates == 3


def test_gradients_are_clipped_per_optimizer_and_the_norm_is_logged_unclipped() -> None:
    batch = random_batch(Sizes())
    free, clipped = (learn(batch, Sizes().spec, gradient_clip=c, iterations=1) for c in (1e9, 1e-3))
    start = parameters_of(small_mipi(Sizes().spec).double())
    for parts, name in ((("marginal",), "marginal"), (("agent.trunk", "agent.utilities", "mixer"), "critic")):
        lengths = [
            sum(((p[key] - start[key]) ** 2).sum() for key in start if key.startswith(parts)) ** 0.5
            for _, p in (free, clipped)
        ]
        assert float(lengths[0]) == pytest.approx(0.1 * float(free[0][f"gradient_norm/{name}"]), rel=1e-4)
        assert float(lengths[1]) == pytest.approx(0.1 * 1e-3, rel=0.01)
    assert clipped[0]["gradient_norm/critic"] == free[0]["gradient_norm/critic"] > 1e-3
