"""Properties that a learning step of every algorithm has, on random batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import example, given, settings
from ppo_worlds import LEARNED, as_rollout, small_mappo
from tensordict import TensorDict
from worlds import ALL_DEAD, SINGLE, Sizes, drive, parameters_of, random_batch, sizes, small_mipi, small_q

from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.datamodules.trimming import trim
from mipi_pl.spec import EntitySpec


class Kind(NamedTuple):
    """One kind of learner."""

    make: Callable[..., EntityAlgorithm]
    options: dict[str, Any]
    learned: tuple[str, ...] = ("agent.", "marginal.", "mixer.")
    """Prefixes of the parameters that it trains."""

    def __call__(self, spec: EntitySpec) -> EntityAlgorithm:
        return self.make(spec, **self.options)

    def batch(self, batch: TensorDict) -> TensorDict:
        return as_rollout(batch) if self.make is small_mappo else batch


KINDS = {
    "mipi": Kind(small_mipi, {}),
    "mipi_average": Kind(small_mipi, {"pool": "present"}),
    "mipi_sampled": Kind(
        small_mipi, {"linear": False, "target": "sampled", "pool": "present", "policy_moves_trunk": True}
    ),
    "vdn": Kind(small_q, {"kind": "vdn"}),
    "aqmix": Kind(small_q, {"kind": "aqmix"}),
    "refil": Kind(small_q, {"kind": "refil"}),
    "collaq": Kind(small_q, {"kind": "collaq"}),
    "mappo": Kind(small_mappo, {}, LEARNED),
    "mipi_ppo": Kind(small_mappo, {"regularizer": "mutual_information", "alpha": 0.3}, LEARNED),
}
EXACT = {name: kind for name, kind in KINDS.items() if kind.options.get("target") != "sampled"}
"""Without the target that draws an action for each slot, so that the draws follow the order of the slots."""
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
every_exact_kind = pytest.mark.parametrize("kind", EXACT.values(), ids=EXACT.keys())


def assert_same_update(kind: Kind, spec: EntitySpec, one: TensorDict, other: TensorDict) -> None:
    """One update with either batch logs the same and leaves the same parameters."""
    found = []
    for batch in (one, other):
        algorithm = kind(spec).double()
        before = parameters_of(algorithm, *kind.learned)
        torch.manual_seed(0)
        (logged,) = drive(algorithm, [kind.batch(batch)])
        after = parameters_of(algorithm, *kind.learned)
        assert any(not torch.equal(value, before[name]) for name, value in after.items())
        found.append(logged | after)
    assert found[0].keys() == found[1].keys()
    for name, value in found[1].items():
        torch.testing.assert_close(found[0][name], value, msg=name, rtol=1e-8, atol=1e-10)


@every_exact_kind
def test_permuting_agents_and_permuting_others_changes_nothing(kind: Kind) -> None:
    s = Sizes()
    batch, permuted = random_batch(s), random_batch(s)
    agents, everyone = torch.tensor([2, 0, 1]), torch.tensor([2, 0, 1, 4, 3])
    for key in ("entities", "present", "imaginary_groups"):
        permuted[key] = batch[key][:, :, everyone]
    permuted["agents", "visible"] = batch["agents", "visible"][:, :, agents][..., everyone]
    for key in ("action", "action_mask"):
        permuted["agents", key] = batch["agents", key][:, :, agents]
    assert_same_update(kind, s.spec, permuted, batch)


@every_kind
def test_absent_entities_and_steps_after_the_end_change_nothing(kind: Kind) -> None:
    s = Sizes()
    batch, changed = random_batch(s), random_batch(s)
    g = torch.Generator().manual_seed(9)
    changed["entities"][~batch["present"]] = 50.0
    for n, length in enumerate(s.lengths):
        changed["entities"][n, length + 1 :].normal_(generator=g)
        changed["reward"][n, length:] = 7.0
        changed["agents", "visible"][n, length + 1 :] ^= True
        changed["terminated"][n, length:] = True
        changed["agents", "action"][n, length:] = 0
    assert_same_update(kind, s.spec, changed, batch)


@every_exact_kind
@pytest.mark.parametrize("aiming", [{}, {"n_actions": 8, "targets": ("others", "agents")}], ids=["fixed", "aiming"])
def test_a_trimmed_batch_gives_the_same_update(kind: Kind, aiming: dict[str, Any]) -> None:
    s = Sizes(absent=((2, 4), (2, 4), (1, 2, 4)), lifetimes=((9, 2, 0), (9, 9, 0), (1, 0, 0)), **aiming)
    batch = random_batch(s)
    if aiming:  # nobody aims at slots that are always empty
        available, action = batch["agents", "action_mask"], batch["agents", "action"]
        available[..., [4, 7]] = False
        available[..., 0] |= ~available.any(-1)
        action[~available.gather(-1, action.unsqueeze(-1)).squeeze(-1)] = 0
    trimmed = trim(batch, s.n_agents)
    assert trimmed["entities"].shape == (3, 4, 3, 3)
    trimmed["imaginary_groups"] = batch["imaginary_groups"][..., torch.tensor([0, 1, 3])]
    assert_same_update(kind, s.spec, trimmed, batch)


@every_kind
@settings(max_examples=3, deadline=None)
@given(s=sizes())
@example(s=Sizes())
@example(s=ALL_DEAD)
@example(s=SINGLE)
def test_single_precision_gives_neither_nan_nor_infinity(kind: Kind, s: Sizes) -> None:
    algorithm = kind(s.spec)
    for logged in drive(algorithm, [kind.batch(random_batch(s, dtype=torch.float32))] * 2):
        assert all(torch.isfinite(value).all() for value in logged.values()), logged
    assert all(torch.isfinite(value).all() for value in algorithm.state_dict().values())
