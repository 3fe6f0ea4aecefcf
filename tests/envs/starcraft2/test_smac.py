"""SMAC's own environment in the entity contract, and its distinction from the package smac on PyPI."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mipi_pl import spec as keys
from mipi_pl.envs.smac import SmacNotFoundError, check_package

THREE_MARINES = {"groups": [{"types": ["marine"], "min": 3, "max": 3}], "team_sizes": [3], "capacity": 3}


@pytest.fixture
def smac(installed: Any) -> Any:
    try:
        check_package()
    except SmacNotFoundError as error:
        pytest.skip(str(error))
    stand = installed
    import stand_in_game

    stand_in_game.install(stand.game_folder, maps=("3m",))
    stand.set(THREE_MARINES, triggers=True)

    def make(**more: Any) -> Any:
        from mipi_pl.envs.smac import SmacEnv

        env = SmacEnv(**{"num_envs": 1, "map_name": "3m", "seed": 2, **more})
        stand.envs.append(env)
        return env

    make.set = stand.set  # type: ignore[attr-defined]
    make.folder = stand.folder  # type: ignore[attr-defined]
    return make


def test_another_project_of_the_same_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "smac"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('AutoML')", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(SmacNotFoundError, match=r"AutoML's SMAC3.*pip uninstall smac, then .*--no-deps git"):
        check_package()


def test_battles_of_a_fixed_map(smac: Any) -> None:
    from torchrl.envs.utils import check_env_specs

    env = smac()
    spec = env.entity_spec
    assert (spec.n_agents, spec.n_entities, spec.n_actions, spec.max_steps) == (3, 6, 9, 60)
    check_env_specs(env)
    td = env.rollout(70, break_when_any_done=True)["next"][0, -1]
    assert td[keys.DONE].all()
    assert td[keys.TERMINATED].logical_xor(td[keys.TRUNCATED]).all()
    first = env.reset()
    assert first[keys.VISIBLE][0].diagonal().all()
    assert not first[keys.ACTION_MASK][0, :, 0].any()
    assert first[keys.ENTITIES][0, :, spec.feature_names.index("health")].tolist() == [1.0] * 6
    td = env.rand_action(first)
    td[keys.ACTION][0, 1] = 0
    with pytest.raises(ValueError, match=r"environment 0, agent 1: action 0 \(no_op\) is not available"):
        env.step(td)


def test_a_game_that_dies_truncates(smac: Any) -> None:
    smac.set(
        THREE_MARINES, triggers=True, fault={"kind": "exit", "step": 3, "seed": None, "marker": str(smac.folder / "x")}
    )
    env = smac()
    ends = env.rollout(3, break_when_any_done=False)["next"]
    assert ends[keys.TRUNCATED][0].flatten().tolist() == [False, False, True]
    assert not ends[keys.WON].any()


def test_a_state_that_comes_back_ends_the_episode_with_what_was_last_seen_and_draws_anew(smac: Any) -> None:
    one, other = smac(), smac()
    other.reset()
    seen = one.step(one.rand_action(one.reset()))["next"]
    other.set_extra_state(one.get_extra_state())
    after = other.step(other.rand_action())["next"]
    assert after[keys.TRUNCATED].all()
    assert after[keys.REWARD] == 0
    for name in (keys.ENTITIES, keys.ACTION_MASK, keys.VISIBLE):
        assert torch.equal(after[name], seen[name])
    assert other._games[0].seed() != one._games[0].seed()
    assert not other.step(other.rand_action(other.reset()))["next"][keys.DONE].any()


def test_what_the_map_does_not_have_is_refused(smac: Any) -> None:
    with pytest.raises(ValueError, match=r"map 3m only has teams of 3 agents, got team_sizes .6..*held_out"):
        smac(team_sizes=[6])
    with pytest.raises(ValueError, match="SMAC has no map '4m'; its maps are 3m, 8m"):
        smac(map_name="4m")
