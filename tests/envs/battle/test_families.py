"""Data of the battle: unit types, shipped families and maps, fixed armies, and the explosion of a Baneling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torchrl.envs import check_env_specs

from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.envs.battle.units import load_units
from mipi_pl.evaluation.rollout import play
from mipi_pl.run.build import environment_factory
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve

Make = Callable[..., Any]
SHIPPED = sorted(
    path.stem
    for path in (Path(__file__).parents[3] / "configs" / "env").glob("*.yaml")
    if "battle/rules" in path.read_text(encoding="utf-8")
)
MAPS = {
    "map_3m": (["3 marine"], ["3 marine"], 60),
    "map_8m": (["8 marine"], ["8 marine"], 120),
    "map_2s3z": (["2 stalker", "3 zealot"], ["2 stalker", "3 zealot"], 120),
    "map_3s5z": (["3 stalker", "5 zealot"], ["3 stalker", "5 zealot"], 150),
    "map_mmm": (["2 marauder", "7 marine", "1 medivac"], ["2 marauder", "7 marine", "1 medivac"], 150),
    "map_10m_vs_11m": (["10 marine"], ["11 marine"], 150),
}


def shipped(name: str, num_envs: int = 4, **changed: Any) -> BattleEnv:
    """A battle as its file in configs/env has it."""
    env = environment_factory(resolve(compose([f"env={name}"]))["env"])(num_envs=num_envs, seed=5, **changed)
    assert isinstance(env, BattleEnv)
    return env


def army(env: BattleEnv, side: int) -> list[str]:
    counts = Counter(unit.type for unit in env.snapshot(0).units if unit.side == side)
    return [f"{n} {name}" for name, n in sorted(counts.items())]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_battle_keeps_its_specs_and_comes_to_an_end(name: str) -> None:
    env = shipped(name)
    check_env_specs(env)
    result = play(env, env.scripted_policy("attack_nearest"))
    assert (result.length < env.scenario.episode_limit).all()  # won or lost, not out of time
    assert (result.return_ > 0).all()


def test_all_battles_of_the_documents_are_shipped() -> None:
    assert set(SHIPPED) == {"marines", "sz", "csz", "mmm", "zerg", *MAPS}


@pytest.mark.parametrize("name", MAPS)
def test_a_map_has_its_armies(name: str) -> None:
    env = shipped(name, num_envs=1)
    env.reset()
    agents, enemies, limit = MAPS[name]
    assert (army(env, 0), army(env, 1), env.scenario.episode_limit) == (agents, enemies, limit)
    assert len(env.compositions) == 1
    assert sorted(unit.tag for unit in env.snapshot(0).units if unit.side == 0) == list(range(env.scenario.capacity))


def test_a_fixed_army_may_differ_from_the_agents_in_number_and_kind() -> None:
    groups = [{"types": ["colossus", "stalker"], "min": 2, "max": 3}]
    env = BattleEnv(groups, [2, 3], 3, num_envs=3, enemies={"zergling": 9, "stalker": 1}, parallel=False)
    env.reset()
    assert env.layout.types == ("colossus", "stalker", "zergling")
    assert (army(env, 1), env.entity_spec.n_entities, env.layout.n_enemies) == (["1 stalker", "9 zergling"], 13, 10)
    check_env_specs(env)
    best = env.scenario.best_unscaled_return(env.compositions[0])
    assert best == 9 * (35 + 10) + (160 + 10) + 200 == env.scenario.best_unscaled_return(env.compositions[-1])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"enemies": {"marine": 2}, "enemy_delta": 1}, "enemy_delta must be 0 with a fixed army in enemies, got 1"),
        ({"enemies": {"marine": 0}}, r"such as \{marine: 11\}, got \{'marine': 0\}"),
        ({"enemies": {}}, "enemies must be null or an army"),
        ({"enemies": {"mariner": 1}}, "unknown unit types.*mariner"),
        ({"enemies": {"medivac": 1}}, "an army needs a unit with a weapon, got medivac;"),
    ],
)
def test_impossible_fixed_armies_are_refused(make_battle: Make, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_battle("marines", **changed)


def test_a_baneling_explodes_when_it_attacks(arena: Make) -> None:
    enemies = [
        ("marine", 16.0, 16.0),  # the target, light: 16 + 19
        ("marauder", 14.0, 14.5),  # 2.2 + 0.5625 away at most
        ("marine", 15.0, 18.7),  # 2.7 away, beyond 2.2 + 0.375
        ("medivac", 15.0, 16.5),  # flies
    ]
    battle = arena([("baneling", 15.0, 16.0), ("marine", 15.0, 15.0), ("marine", 30, 30)], enemies)
    last = battle.play({0: battle.attack(0)})
    lost = [unit.health_max - unit.health for unit in battle.enemies]
    assert lost == [35, 16 - 1, 0, 0]  # armour 1
    assert not battle.agents[0].alive
    assert battle.agents[1].health == 45  # no harm to its own side
    assert last["reward"].item() == pytest.approx(battle.env.world.draws[0].reward_scale * (35 + 15))


def test_a_baneling_that_is_shot_explodes_too_and_sets_off_the_other_sides(arena: Make) -> None:
    battle = arena(
        [("baneling", 16.0, 16.0), ("marine", 30, 30)],
        [("baneling", 17.5, 16.0), ("zealot", 19.0, 16.0), ("marine", 20, 16), ("zealot", 30, 10)],
    )
    own, other = battle.agents[0], battle.enemies[0]
    own.health, other.health = 5.0, 15.0
    battle.play()  # what was done by hand is not paid for in the next loop
    battle.enemies[2].cooldown = 0.0
    last = battle.play()  # the script's Marine shoots the Baneling beside it
    assert not own.alive
    assert not other.alive
    assert battle.enemies[1].shield == 50.0  # 3 away from the agents' Baneling; the enemies' harms nobody of its own
    assert last["reward"].item() == pytest.approx(battle.env.world.draws[0].reward_scale * (15 + 10), rel=2e-3)


def test_an_enemy_that_blows_itself_up_pays_as_if_it_had_been_shot(arena: Make) -> None:
    battle = arena([("marine", 16.0, 16.0), ("marine", 30, 30)], [("baneling", 17.0, 16.0), ("marine", 5, 5)])
    battle.enemies[0].cooldown = 0.0
    last = battle.play()
    assert not battle.enemies[0].alive
    assert battle.agents[0].health == 45 - 35
    assert last["reward"].item() == pytest.approx(battle.env.world.draws[0].reward_scale * (30 + 10))


def test_zerg_regain_health_and_nobody_else_does(arena: Make) -> None:
    battle = arena([("hydralisk", 10, 16), ("marine", 12, 16)], [("marine", 30, 30)])
    for unit in battle.agents:
        unit.health = 20.0
    battle.play(steps=56)
    assert battle.agents[0].health == pytest.approx(20 + 56 * 0.38 / 22.4)
    assert battle.agents[1].health == 20.0


def test_a_new_unit_is_an_entry_of_the_table() -> None:
    units = load_units()
    assert set(units) >= {"zergling", "hydralisk", "baneling"}
    assert units["baneling"].damage_per_hit(units["zergling"]) == 16 + 19
    assert units["hydralisk"].can_target(units["medivac"])
    assert not units["zergling"].can_target(units["medivac"])
