"""Both sides of the comparison with REFIL's learner get equal batches: real battles, one file, correct fields."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from mipi_pl.envs.base import EntityEnv
from mipi_pl.evaluation.rollout import play
from mipi_pl.run.build import factory
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve

PEERS = Path(__file__).resolve().parents[1] / "benchmarks" / "peers"
EPISODES, LIMIT = 6, 55


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(PEERS.parent), str(PEERS), *sys.path])
        names = ("batches", "ours", "refil", "peer_refil")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


@pytest.fixture(scope="module")
def battles(scripts: SimpleNamespace) -> TensorDict:
    """Some end early and some at the limit, which the tests need."""
    batch: TensorDict = scripts.batches.battles(LIMIT, "attack_nearest", EPISODES)
    lengths = batch["valid"].sum(dim=1)
    assert int(lengths.min()) < LIMIT == int(lengths.max())
    return batch


def test_battles_are_the_first_of_each_environment(battles: TensorDict) -> None:
    config = resolve(compose(["env=sz", "env.team_sizes=[8]", f"env.episode_limit={LIMIT}"]))
    env: EntityEnv = factory("env", config["env"])(num_envs=EPISODES, seed=0)
    played = play(env, env.scripted_policy("attack_nearest"))
    found = zip(battles["valid"].sum(dim=1).tolist(), battles["reward"].sum(dim=1).tolist(), strict=True)
    expected = sorted(zip(played.length.tolist(), played.return_.tolist(), strict=True))
    assert sorted(found) == [pytest.approx(pair, rel=1e-5) for pair in expected]


def test_a_batch_is_described_by_who_acts(scripts: SimpleNamespace, battles: TensorDict) -> None:
    full = scripts.batches.full(4, episodes=2)
    assert scripts.batches.describe(full) == {"length": 4.0, "longest": 4, "acting_share": 1.0}
    acting, steps = 0, [int(valid.sum()) for valid in battles["valid"]]
    for episode, length in zip(battles, steps, strict=True):
        for t in range(length):
            acting += sum(not bool(episode["agents", "action_mask"][t, i, 0]) for i in range(8))  # the dead alone idle
    share = acting / (EPISODES * LIMIT * 8)
    assert 0.3 < share < 0.95
    expected = {"length": round(sum(steps) / EPISODES, 1), "longest": LIMIT, "acting_share": round(share, 3)}
    assert scripts.batches.describe(battles) == expected


def test_a_file_gives_back_the_batch_and_its_sizes(
    scripts: SimpleNamespace, battles: TensorDict, tmp_path: Path
) -> None:
    scripts.batches.save(battles, tmp_path / "batch.pt")
    loaded = scripts.batches.load(tmp_path / "batch.pt")
    assert loaded.batch_size == battles.batch_size
    assert (loaded == battles).all()
    spec = scripts.batches.spec_of(loaded)
    assert (spec.n_agents, spec.n_entities, spec.n_actions, spec.max_steps) == (8, 16, 14, LIMIT)
    sizes = scripts.refil.sizes_of(torch.load(tmp_path / "batch.pt", weights_only=True))
    assert sizes == {"n_agents": 8, "n_entities": 16, "n_actions": 14, "entity_shape": spec.n_features}


def test_refil_gets_every_field_under_its_own_meaning(scripts: SimpleNamespace, battles: TensorDict) -> None:
    fields: dict[str, Any] = scripts.refil.fields(battles.to_dict())
    for n, mine in enumerate(battles):
        length, its = int(mine["valid"].sum()), {name: value[n] for name, value in fields.items()}
        observed, played = slice(length + 1), slice(length)
        # Its learner: steps that are filled, and not the one after an end.
        filled, ended = its["filled"].squeeze(-1), its["terminated"].squeeze(-1)
        assert filled.tolist() == [1] * (length + 1) + [0] * (LIMIT - length)
        assert ended.tolist() == [0] * (length - 1) + [1] + [0] * (LIMIT - length + 1)
        assert torch.equal(its["entities"], mine["entities"])
        assert torch.equal(its["reward"].squeeze(-1), mine["reward"])
        assert torch.equal(its["actions"][played].squeeze(-1), mine["agents", "action"][played])
        assert torch.equal(its["avail_actions"][observed].bool(), mine["agents", "action_mask"][observed])
        assert torch.equal(its["obs_mask"][observed, :8] == 0, mine["agents", "visible"][observed])
        assert its["obs_mask"][observed, 8:].all()  # it reads no rows but those of agents
        assert not its["entity_mask"].any()
        chosen = its["avail_actions"][played].gather(-1, its["actions"][played])
        assert (chosen == 1).all()
        assert all(not value[length + 1 :].any() for value in its.values())


def test_our_side_learns_from_what_is_in_the_file(
    scripts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = scripts.batches.full(3, episodes=2)
    learned: list[Any] = []
    drive = scripts.ours.drive
    scripts.batches.save(batch, tmp_path / "batch.pt")
    monkeypatch.setattr(scripts.ours, "drive", lambda learner, given: learned.extend([*given, *drive(learner, given)]))
    scripts.ours.updates("refil", "32-true", tmp_path / "batch.pt")()
    given, logged = learned
    assert (given.select(*batch.keys()) == batch).all()
    assert given["imaginary_groups"].shape == (2, 1, 16)
    assert logged
    assert all(value.isfinite() for value in logged.values())


def test_figures_of_different_batches_have_different_names(scripts: SimpleNamespace) -> None:
    one = {"seconds": 2.0, "cpu_seconds": 3.0, "spread": 1.0}
    found = {"refil_own": one, "refil": {**one, "seconds": 0.5}, "refil_bf16": one}
    tables = [scripts.peer_refil.compare(found, kind, steps) for kind in ("full", "battles") for steps in (60, 100)]
    assert len({name for table in tables for name in table}) == sum(map(len, tables))
    assert tables[0]["refil_ratio_60"] == tables[3]["refil_battles_ratio_100"] == 4.0
