"""SMACv2's battles through a stand-in of its package: teams as compositions, tags, seeds, failures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import smacv2_stand_in
import torch
from tensordict import TensorDictBase

from mipi_pl import spec as keys
from mipi_pl.cli import main
from mipi_pl.envs.composition import Composition
from mipi_pl.envs.smacv2 import Smacv2Env, Smacv2NotFoundError, draw_probabilities
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve

TERRAN: dict[str, Any] = {
    "unit_types": ["marine", "marauder", "medivac"],
    "weights": [0.45, 0.45, 0.1],
    "exception_unit_types": ["medivac"],
    "start_positions": {"dist_type": "reflect_position", "map_x": 32, "map_y": 32},
    "team_sizes": [3],
    "capacity": 5,
}


@pytest.fixture
def smacv2(installed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import stand_in_game

    stand_in_game.install(installed.game_folder, maps=("32x32_flat",))
    real = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "smacv2"}
    for name in real:
        monkeypatch.delitem(sys.modules, name)
    smacv2_stand_in.MADE.clear()
    monkeypatch.syspath_prepend(str(smacv2_stand_in.install(tmp_path / "packages")))

    def make(**more: Any) -> Smacv2Env:
        env = Smacv2Env(**{"num_envs": 2, "seed": 4, **TERRAN, **more})
        installed.envs.append(env)
        return env

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] == "smacv2"]:
        del sys.modules[name]


def attack(td: TensorDictBase) -> TensorDictBase:
    """The last available action: a target if there is one."""
    mask = td[keys.ACTION_MASK]
    td[keys.ACTION] = mask.shape[-1] - 1 - mask.flip(-1).long().argmax(-1)
    return td


def test_battles_keep_the_contract(smacv2: Any) -> None:
    from torchrl.envs.utils import check_env_specs

    env = smacv2()
    spec = env.entity_spec
    assert (spec.n_agents, spec.n_entities, spec.n_actions, spec.max_steps) == (5, 10, 11, 200)
    check_env_specs(env)
    td = env.reset()
    assert td[keys.PRESENT].tolist() == [([True] * 3 + [False] * 2) * 2] * 2
    assert keys.acting(td[keys.VISIBLE]).tolist() == [[True] * 3 + [False] * 2] * 2
    assert not td[keys.ENTITIES][~td[keys.PRESENT]].any()
    last = env.rollout(20, policy=attack, break_when_any_done=False)["next"]
    ended = last[keys.DONE].squeeze(-1)
    assert ended.any(dim=1).all()
    assert torch.equal(last[keys.WON][ended], last[keys.TERMINATED][ended])
    assert last[keys.REWARD].sum() > 20


def test_the_team_is_the_composition_for_both_sides(smacv2: Any) -> None:
    env = smacv2(team_sizes=[2, 3, 4], num_envs=3)
    for _ in range(4):
        td = env.reset()
        for b, game in enumerate(env._games):
            composition = env.compositions[int(td[keys.COMPOSITION][b])]
            team = sorted(name for name, n in composition.counts for _ in range(n))
            assert [sorted(unit.kind for unit in army) for army in (game.agents, game.enemies)] == [team, team]
            assert int(td[keys.PRESENT][b].sum()) == 2 * composition.size
            shown = td[keys.ENTITIES][b, : composition.size, env._columns["type_0"] :][:, :3].argmax(-1)
            assert [game.types[k] for k in shown.tolist()] == team


def test_a_target_action_hits_the_unit_with_its_tag(smacv2: Any) -> None:
    env = smacv2(num_envs=1, mixes=[{"marine": 1, "medivac": 2}])
    tag, slots = env._columns["tag_0"], env.entity_spec.n_agents
    for _ in range(5):
        td = env.reset()
        game = env._games[0]
        tags = td[keys.ENTITIES][0, :, tag : tag + 5].argmax(-1)
        enemy = int(tags[slots : slots + 3].argmax())  # of the highest tag, which `attack` chooses
        mask = td[keys.ACTION_MASK][0]
        assert mask[0, 6:].nonzero().flatten().tolist() == sorted(tags[slots : slots + 3].tolist())
        assert mask[1, 6:].nonzero().flatten().tolist() == [int(tags[0])]  # medivacs heal the marine
        game.agents[0].health = 0.25
        env.step(attack(td))
        assert game.played[-1] == [6 + enemy, 6, 6]
        assert game.enemies[enemy].health == 0.5
        assert game.agents[0].health == pytest.approx(1.0 - 0.3)


def test_equal_seeds_give_equal_battles(smacv2: Any) -> None:
    def played(seed: int) -> TensorDictBase:
        env = smacv2(seed=seed, team_sizes=[2, 4])
        return env.rollout(30, policy=attack, break_when_any_done=False)

    first, again, other = played(1), played(1), played(2)
    assert (first == again).all()
    assert not torch.equal(first[keys.ENTITIES], other[keys.ENTITIES])


def test_more_or_fewer_enemies(smacv2: Any) -> None:
    for delta in (2, -1):
        env = smacv2(enemy_delta=delta)
        env.reset()
        game = env._games[0]
        assert len(game.enemies) == 3 + delta
        common = min(3, 3 + delta)
        team = game.episode_config["team_gen"]
        assert team["enemy_team"][:common] == team["ally_team"][:common]
        assert env.step(attack(env.reset()))["next", keys.REWARD].shape == (2, 1)


def test_the_probability_of_a_team_is_that_of_drawing_its_units() -> None:
    teams = [(("marine", 2),), (("marine", 1), ("medivac", 1)), (("marine", 3),)]
    got = draw_probabilities([Composition(counts) for counts in teams], {"marine": 0.8, "medivac": 0.2})
    pairs = np.array([0.8**2, 2 * 0.8 * 0.2])
    np.testing.assert_allclose(got, [*(pairs / pairs.sum() / 2), 0.5])


def test_held_out_mixes_are_evaluated(
    smacv2: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["env=smacv2", "env.split.share=0.3", "held_out.team_sizes=[6]"]
    command += ["+held_out.worlds.mixes.mixes=held_out"]
    assert main(["compositions", *command]) == 0
    text = capsys.readouterr().out
    assert "14 compositions in training, 33 held out" in text  # 6 of 20, and 27 of size 6
    assert "held out 'mixes': 6" in text
    small = ["debug=tiny", "held_out.baselines=[]", "datamodule.num_envs=1", "env.max_evaluation_envs=1"]
    assert main(["train", *command, *small, "held_out.episodes=1", "callbacks.generalization.episodes=1"]) == 0
    assert "mixes" in capsys.readouterr().out
    played = [game for game in smacv2_stand_in.MADE if game.played]
    assert all(game.closed for game in played)
    assert {game.n_agents for game in played} == {5, 6}


def test_a_game_that_dies_truncates_and_units_that_do_not_appear_cost_an_attempt(smacv2: Any) -> None:
    env = smacv2(num_envs=1)
    td = env.reset()
    (game,) = (wrapper.env for wrapper in env._of_size[0].values())
    game.dies = True
    after = env.step(attack(td))["next"]
    assert after[keys.TRUNCATED].all()
    assert not after[keys.WON].any()
    env.tolerant, game.refusals = True, 2
    assert not env.step(attack(env.reset()))["next", keys.DONE].any()


def test_a_state_that_comes_back_draws_anew(smacv2: Any) -> None:
    one, other = smacv2(), smacv2()
    other.reset()
    seen = one.step(attack(one.reset()))["next"]
    other.set_extra_state(one.get_extra_state())
    after = other.step(attack(seen.clone()))["next"]
    assert after[keys.TRUNCATED].all()
    assert torch.equal(after[keys.ENTITIES], seen[keys.ENTITIES])
    assert torch.equal(after[keys.COMPOSITION], seen[keys.COMPOSITION])
    assert not torch.equal(other.reset()[keys.ENTITIES], one.reset()[keys.ENTITIES])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"map_name": "3m"}, "map_name must be 10gen_terran, 10gen_protoss, 10gen_zerg for SMACv2, got '3m'"),
        ({"unit_types": ["zealot"]}, "has the unit types marauder, marine, medivac, got 'zealot'"),
        ({"weights": [1.0, 2.0]}, "weights must give a positive number for each"),
        ({"weights": [1.0, 2.0, 0.0]}, "weights must give a positive number for each"),
        ({"exception_unit_types": ["marine", "marauder", "medivac"]}, "must leave a type for whole teams"),
        ({"team_sizes": [6]}, "team_sizes must not exceed the capacity, got 6 with capacity 5; raise it"),
        ({"enemy_delta": -3}, "leaves no enemy for teams of 3"),
        ({"mixes": [{"medivac": 3}]}, "groups allows 1 to 5"),
        ({"difficulty": 11}, "difficulty"),
    ],
)
def test_mistakes_are_refused(smacv2: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        smacv2(**changes)


def test_the_missing_package_is_told(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mipi_pl.envs.smacv2.find_spec", lambda _: None)
    with pytest.raises(Smacv2NotFoundError, match=r"smacv2 is missing: .*--no-deps git.*smacv2"):
        Smacv2Env(num_envs=1, **TERRAN)


def test_the_package_itself_plays_in_the_stand_in_of_the_game(installed: Any) -> None:
    if find_spec("smacv2") is None:
        pytest.skip("needs the package smacv2: docs/starcraft2.md")
    import stand_in_game

    stand_in_game.install(installed.game_folder, maps=("32x32_flat",))
    groups = [{"types": ["marine", "marauder"], "min": 1, "max": 3}, {"types": ["medivac"], "min": 0, "max": 2}]
    installed.set({"groups": groups, "team_sizes": [3], "capacity": 3}, marching=True)
    env = Smacv2Env(**{"num_envs": 1, "seed": 4, **TERRAN})
    installed.envs.append(env)
    for _ in range(2):
        td = env.reset()
        composition = env.compositions[int(td[keys.COMPOSITION])]
        assert int(td[keys.PRESENT].sum()) == 2 * composition.size
        types = td[keys.ENTITIES][0, : composition.size, env._columns["type_0"] :][:, :3]
        order = ("marine", "marauder", "medivac")  # the package's order
        assert dict(composition.counts) == {order[k]: int(n) for k, n in enumerate(types.sum(0)) if n}
        last = env.rollout(200, policy=attack, break_when_any_done=True)["next"][0, -1]
        assert last[keys.TERMINATED].logical_xor(last[keys.TRUNCATED]).all()


@pytest.mark.parametrize("race", ["smacv2", "smacv2_protoss", "smacv2_zerg"])
def test_the_configs_are_those_of_smacv2(race: str, smacv2: Any) -> None:
    node = {key: value for key, value in resolve(compose([f"env={race}"]))["env"].items() if not key.startswith("_")}
    env = smacv2(**node)
    assert [c.size for c in env.compositions] == [5] * (21 if race == "smacv2_protoss" else 20)
    env.step(attack(env.reset()))
    config = env._games[0].capability_config
    assert config["start_positions"] == {"dist_type": "surrounded_and_reflect", "p": 0.5, "map_x": 32, "map_y": 32}
    assert (config["n_units"], config["n_enemies"]) == (5, 5)
    assert env._games[0].use_unit_ranges
