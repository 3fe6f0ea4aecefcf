"""Entities that benchmarks/dropped_entities.py hides from agents."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from mipi_pl import spec as keys
from mipi_pl.utils.errors import UserError

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import dropped_entities


def test_agents_keep_themselves_and_at_most_so_many_of_each_side() -> None:
    visible = torch.rand(200, 6, 13, generator=torch.Generator().manual_seed(0)) < 0.7
    visible[:, range(6), range(6)] = True
    visible[0, 1] = False  # a dead agent sees nothing
    keep = dropped_entities.kept(visible, 3, torch.Generator().manual_seed(1))
    assert not (keep & ~visible).any()
    for side in (slice(6), slice(6, 13)):
        assert torch.equal(keep[..., side].sum(-1), visible[..., side].sum(-1).clamp(max=3))
    assert torch.equal(keep[:, range(6), range(6)], visible[:, range(6), range(6)])
    assert keep[1:, 0, 6:].float().mean(0).std() < 0.1, "each enemy is drawn about equally often"
    everything = dropped_entities.kept(visible, 13, torch.Generator())
    assert torch.equal(everything, visible)


def test_policies_play_with_and_without_dropped_entities(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attacked: list[bool] = []
    original = dropped_entities.kept

    def kept(visible: torch.Tensor, *options: Any) -> torch.Tensor:
        attacked.append(bool(visible.any()))
        return original(visible, *options)

    monkeypatch.setattr(dropped_entities, "kept", kept)
    monkeypatch.setattr(sys, "argv", ["dropped_entities.py", "sz", "--sizes", "6", "--episodes", "2", "--most", "2"])
    dropped_entities.main()
    assert attacked, "entities were dropped"
    rows = capsys.readouterr().out.splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == list(dropped_entities.WAYS)
    assert all(0 <= float(row.split("|")[2]) <= 1 for row in rows[2:])


@pytest.mark.parametrize("attackable", [True, False])
def test_a_policy_sees_and_attacks_only_what_is_kept_and_the_observation_is_unchanged(attackable: bool) -> None:
    n_agents, n_others, n_fixed = 2, 3, 6
    sizes = {"n_agents": n_agents, "n_entities": n_agents + n_others, "n_actions": n_fixed + n_others}
    seen: list[TensorDictBase] = []

    def policy(td: TensorDictBase) -> TensorDictBase:
        seen.append(td)
        return td.set(keys.ACTION, torch.zeros(4, n_agents, dtype=torch.int64))

    td = TensorDict({}, [4]).set(keys.VISIBLE, torch.ones(4, n_agents, n_agents + n_others, dtype=torch.bool))
    td.set(keys.ACTION_MASK, torch.ones(4, n_agents, n_fixed + n_others, dtype=torch.bool))
    env: Any = SimpleNamespace(entity_spec=SimpleNamespace(**sizes))
    after = dropped_entities.dropping(lambda *_: policy, 1, attackable)(env, 0)(td)
    (given,) = seen
    others = given[keys.VISIBLE][..., n_agents:]
    assert others.sum(-1).eq(1).all()
    assert torch.equal(given[keys.ACTION_MASK][..., n_fixed:], torch.ones_like(others) if attackable else others)
    assert given[keys.ACTION_MASK][..., :n_fixed].all()
    assert keys.ACTION in after
    assert after[keys.VISIBLE].all()
    assert after[keys.ACTION_MASK].all()


def test_policies_with_other_targets_than_enemies_are_refused() -> None:
    with pytest.raises(UserError, match=r"whose only targets are enemies .* got .'others', 'agents'"):
        dropped_entities.opened([Path("mmm")], ["threads=1"])
