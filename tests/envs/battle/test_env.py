"""Rejected values, rewards, episode ends, snapshots, pictures and scripted players."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.envs import StepCounter, TransformedEnv

from mipi_pl import spec as keys
from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.envs.battle.scripted import make_scripted
from mipi_pl.envs.picture import SIDE_COLOURS, draw
from mipi_pl.envs.scene import AGENTS, OTHERS

Make = Callable[..., BattleEnv]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"team_sizes": [9]}, "must not exceed capacity.*got 9 with capacity 8; .*raise capacity"),
        ({"family": "csz", "team_sizes": [9], "capacity": 10}, "this family allows 3 to 8 agents"),
        ({"team_sizes": [1], "enemy_delta": -1}, "leaves no enemy against 1 marine"),
        ({"capacity": 0}, "capacity must be at least 1"),
        ({"episode_limit": 0}, "episode_limit must be at least 1"),
        ({"sight_range": 0.0}, "sight_range must be above 0"),
        ({"map_size": float("inf")}, "env.map_size must be a finite number above 0, got inf"),
        ({"win_reward": float("nan")}, "win_reward must be at least 0, got nan"),
        ({"jitter": -1.0}, "env.jitter must be at least 0, got -1.0"),
        ({"map_size": 10.0}, "must not exceed map_size 10.0, got spawn_distance 14.0 and jitter 1.0"),
        ({"reward_scale": "best"}, "'largest' or 'composition', got 'best'"),
        ({"reward_reference_size": 2, "family": "sz"}, "reward_reference_size .* must be at least 3"),
        ({"draw": "evenly"}, "draw must be 'compositions' or 'sizes'"),
        ({"num_envs": 0}, "num_envs must be at least 1"),
    ],
)
def test_impossible_values_are_refused(make_battle: Make, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_battle(**{"family": "marines", **changed})


def test_unknown_units_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown unit types \['mariner'\]; units.yaml has \['baneling'"):
        BattleEnv([{"types": ["mariner"], "min": 1, "max": 3}], [3], 3, num_envs=1)


def test_too_many_armies_to_scale_rewards_by_are_refused_with_advice_that_works() -> None:
    types = ["marine", "marauder", "medivac", "stalker", "zealot"]
    options: dict[str, Any] = {"groups": [{"types": types, "min": 1, "max": 64}], "team_sizes": [3], "capacity": 64}
    options["mixes"] = [{"marine": 3}]
    advice = "lower env.reward_reference_size .by default env.capacity., or set env.reward_scale=composition"
    with pytest.raises(ValueError, match=rf"teams of up to 64 agents .*candidate compositions.*{advice}"):
        BattleEnv(**options, num_envs=1)
    for followed in ({"reward_reference_size": 8}, {"reward_scale": "composition"}):
        assert BattleEnv(**options, **followed, num_envs=1).entity_spec.n_agents == 64


def test_an_army_that_cannot_fight_is_refused() -> None:
    with pytest.raises(ValueError, match="an army needs a unit with a weapon, got medivac, medivac;"):
        BattleEnv([{"types": ["medivac"], "min": 1, "max": 3}], [2], 3, num_envs=1)


@pytest.mark.parametrize("action", [0, 6, 99, -1])
def test_an_unavailable_action_names_environment_agent_and_what_was_available(make_battle: Make, action: int) -> None:
    env = make_battle("marines", [3], num_envs=3)
    td = env.rand_action(env.reset())
    td[keys.ACTION][2, 1] = action
    units = env.units.copy()
    with pytest.raises(
        ValueError, match=rf"environment 2, agent 1: action {action}\b.*available are 1 \(stop\), 2 \(north\)"
    ):
        env.step(td)
    assert (env.units == units).all()  # nothing was played


def test_the_best_return_is_20_for_the_largest_team_and_less_for_smaller_ones(make_battle: Make) -> None:
    best = 8 * (45 + 10) + 200
    env = make_battle("marines", [4])
    assert env.world.draws[0].reward_scale == pytest.approx(20 / best)
    assert env.scenario.best_unscaled_return(env.compositions[0]) == 4 * (45 + 10) + 200
    assert make_battle("marines", [8]).world.draws[0].reward_scale == env.world.draws[0].reward_scale
    each = make_battle("marines", [3, 4], reward_scale="composition")
    assert each.world.draws["reward_scale"] == pytest.approx([20 / (n * 55 + 200) for n in (3, 4)])
    ten = make_battle("marines", [4], capacity=10, reward_reference_size=8)
    assert ten.world.draws[0].reward_scale == pytest.approx(20 / best)


def test_a_victory_without_losses_of_damage_pays_the_best_return(make_battle: Make) -> None:
    env = make_battle("marines", [8], num_envs=20, enemy_delta=-6, seed=1, episode_limit=150)
    player = make_scripted("focus_fire", env)
    td, total = env.reset(), torch.zeros(20)
    won = torch.zeros(20, dtype=torch.bool)
    for _ in range(40):
        td = env.step(player(td))["next"]
        total += td[keys.REWARD].flatten()
        won |= td[keys.WON].flatten()
    assert won.all()
    torch.testing.assert_close(total, torch.full((20,), 20.0))  # marines neither heal nor have shields


def test_the_limit_truncates(make_battle: Make) -> None:
    env = make_battle("marines", [3], episode_limit=4)
    td = env.reset()
    for step in range(1, 5):
        td = env.rand_step(td)["next"]
        assert td[keys.TRUNCATED].flatten().tolist() == [step == 4] * 3
    assert td[keys.DONE].all()
    assert not td[keys.TERMINATED].any()
    assert not td[keys.WON].any()
    units = env.units.copy()
    after = env.step(env.rand_action(td))["next"]  # an ended battle stands still and pays nothing
    assert (env.units == units).all()
    assert after[keys.REWARD].sum() == 0
    assert after[keys.TRUNCATED].all()


def test_smaller_views_can_be_chosen(make_battle: Make) -> None:
    env = make_battle("marines", [3], centre_of_mass_features=False)
    assert "x_from_centre_of_mass" not in env.entity_spec.feature_names
    assert env.reset()[keys.ENTITIES].shape[-1] == make_battle("marines", [3]).entity_spec.n_features - 2


def test_the_layout_names_every_place(make_battle: Make) -> None:
    layout = make_battle("mmm").layout
    assert layout.n_actions == 6 + 8 + 8
    assert layout.action_names[layout.attack(3)] == "attack_3"
    assert layout.action_names[layout.heal(2)] == "heal_2"
    assert layout.feature_names[layout.columns("kind")] == ("type_marine", "type_marauder", "type_medivac")
    assert layout.n_features == 8 + 20 + 3 + 4 + 2 + 2
    with pytest.raises(KeyError, match="no feature block 'mood'"):
        layout.columns("mood")


def test_a_snapshot_is_a_copy(make_battle: Make) -> None:
    env = make_battle("mmm", seed=2)
    td = env.reset()
    before = env.snapshot(1)
    copy = tuple(before.units)
    env.step(env.rand_action(td))
    assert before.units == copy
    assert before.steps == 0
    assert env.snapshot(1).steps == 1
    assert 7 not in [unit.slot for unit in before.units]  # an empty slot


def test_a_picture_shows_each_side_in_its_colour_where_it_stands(make_battle: Make) -> None:
    env = make_battle("csz", seed=2)
    env.reset()
    scene = env.scene(0)
    picture = draw(scene, size=640)[40:]
    assert picture.shape == (640, 640, 3)
    assert picture.dtype == np.uint8
    for side in (AGENTS, OTHERS):
        rows, columns = np.nonzero((picture == SIDE_COLOURS[side]).all(axis=-1))
        places = [(b.x * 20, 640 - b.y * 20) for b in scene.bodies if b.side == side]
        assert len(rows) > 100
        assert np.hypot(np.mean(columns) - np.mean(places, axis=0)[0], np.mean(rows) - np.mean(places, axis=0)[1]) < 20
    assert (draw(env.scene(0), size=640)[40:] == picture).all()


def test_a_scene_is_what_the_snapshot_says(make_battle: Make) -> None:
    env = make_battle("csz", seed=2)
    env.reset()
    units, bodies = env.snapshot(0).units, env.scene(0).bodies
    assert [b.slot for b in bodies] == [u.slot for u in units]
    assert [b.kind for b in bodies] == [u.type for u in units]
    assert all(b.health == 1.0 for b in bodies)
    assert len({b.name for b in bodies}) == len(bodies)
    enemy = next(u for u in units if u.side == 1)
    assert f"enemy {enemy.type} {enemy.tag}" == next(b.name for b in bodies if b.slot == enemy.slot)


def test_scripted_players_know_their_names(make_battle: Make) -> None:
    with pytest.raises(ValueError, match="random, attack_nearest, focus_fire, got 'clever'"):
        make_scripted("clever", make_battle("marines"))


def test_scripted_players_play_wrapped_battles(make_battle: Make) -> None:
    env = TransformedEnv(make_battle("mmm"), StepCounter())
    player = make_scripted("attack_nearest", env)
    assert env.rollout(5, policy=player)[keys.ACTION].shape == (3, 5, 8)


def test_the_random_player_follows_its_seed(make_battle: Make) -> None:
    env = make_battle("marines", num_envs=8)
    env.reset()
    empty = TensorDict({}, batch_size=[8])
    one, again, other = (make_scripted("random", env, seed)(empty.clone())[keys.ACTION] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_random_player_shares_no_draw_with_the_battles_of_the_same_seed(make_battle: Make) -> None:
    for seed in (0, 7):
        env = make_battle("marines", num_envs=8, seed=seed)
        player = env.scripted_policy("random", seed)
        assert not set(env.battles["random"].tolist()) & set(player._generators["random"].tolist())


def test_attack_nearest_beats_one_enemy_fewer_and_random_does_not(make_battle: Make) -> None:
    rates = {}
    for name in ("random", "attack_nearest", "focus_fire"):
        env = make_battle("marines", num_envs=60, seed=3, enemy_delta=-1, episode_limit=60)
        player, td = make_scripted(name, env, 1), env.reset()
        for _ in range(60):
            td = env.step(player(td))["next"]
        rates[name] = td[keys.WON].float().mean().item()
    assert rates["random"] < 0.1
    assert rates["attack_nearest"] > 0.9
    assert rates["focus_fire"] > 0.9


def test_neither_side_has_the_advantage_of_the_order(make_battle: Make) -> None:
    env = make_battle("sz", num_envs=600, seed=8, both_scripted=True)
    idle = torch.zeros(600, 8, dtype=torch.int64)
    td = env.reset()
    for _ in range(110):
        td = env.step(td.set(keys.ACTION, idle))["next"]
    outcomes = [env.snapshot(b).outcome for b in range(600)]
    won, lost = outcomes.count("won"), outcomes.count("lost")
    assert won + lost > 350
    assert abs(won / (won + lost) - 0.5) < 0.08  # three standard deviations
