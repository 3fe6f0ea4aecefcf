"""Fights computed by hand, loop by loop.

A blow is struck in loop 1 and then every `cooldown_s` x 22.4 loops, rounded up."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import pytest

Make = Callable[..., Any]


def shot_loops(cooldown_s: float, n: int) -> list[int]:
    """Loops, counted from 1, in which the first n shots of an unbroken fight fall."""
    return [1 + ceil(k * cooldown_s * 22.4) for k in range(n)]


def loops_of_damage(battle: Any, actions: dict[int, int], victim: Any, loops: int) -> list[int]:
    """Loops, counted from 1, in which the victim's health and shield fell."""
    found = []
    for loop in range(1, loops + 1):
        before = victim.health + victim.shield
        battle.play(actions)
        if victim.health + victim.shield < before:
            found.append(loop)
    return found


def test_a_marine_kills_a_marine_with_its_eighth_shot(arena: Make) -> None:
    battle = arena([("marine", 10, 16)], [("marine", 15, 16)])
    assert shot_loops(0.61, 8) == [1, 15, 29, 42, 56, 70, 83, 97]  # 13.664 loops apart; 8 x 6 > 45
    assert loops_of_damage(battle, {0: battle.attack(0)}, battle.enemies[0], 96) == [1, 15, 29, 42, 56, 70, 83]
    assert battle.enemies[0].health == 45 - 7 * 6
    last = battle.play({0: battle.attack(0)})
    assert not battle.enemies[0].alive
    assert last["won"].item()
    assert last["terminated"].item()
    assert not last["truncated"].item()


def test_marines_that_shoot_at_once_kill_each_other_and_nobody_wins(arena: Make) -> None:
    battle = arena([("marine", 10, 16)], [("marine", 15, 16)])
    battle.enemies[0].cooldown = 0.0
    battle.play({0: battle.attack(0)}, steps=96)
    assert battle.agents[0].health == battle.enemies[0].health == 3.0
    last = battle.play({0: battle.attack(0)})
    assert not battle.agents[0].alive
    assert not battle.enemies[0].alive
    assert last["terminated"].item()
    assert not last["won"].item()
    assert battle.env.snapshot(0).outcome == "drawn"


def test_a_weapon_that_rested_keeps_no_fraction(arena: Make) -> None:
    battle = arena([("marine", 10, 16)], [("marauder", 15, 16)])
    attack = {0: battle.attack(0)}
    battle.play(attack)  # fires in loop 1; ready, with 0.336 of a loop to spare, in loop 15
    battle.play({}, steps=19)
    assert loops_of_damage(battle, attack, battle.enemies[0], 16) == [1, 15]


@pytest.mark.parametrize(
    ("attacker", "victim", "shield", "health"),
    [
        ("marine", "marauder", 0, 6 - 1),  # armour 1
        ("marauder", "marine", 0, 10),  # no bonus against light
        ("marauder", "stalker", 10 + 10, 0),  # bonus against armoured; shields have no armour
        ("stalker", "zealot", 13, 0),  # no bonus against light
        ("stalker", "stalker", 13 + 5, 0),
        ("zealot", "marauder", 0, 2 * (8 - 1)),  # armour counts against each of the two hits
        ("zealot", "zealot", 2 * 8, 0),
        ("colossus", "zealot", 2 * (10 + 5), 0),  # bonus against light
        ("colossus", "marauder", 0, 2 * (10 - 1)),
        ("stalker", "medivac", 0, 13 + 5 - 1),
        ("marine", "colossus", 6, 0),
    ],
)
def test_damage_of_a_blow(arena: Make, attacker: str, victim: str, shield: float, health: float) -> None:
    distance = 1.0 if attacker == "zealot" else 4.0
    others = [("marine", 30, 30)]
    battle = arena([(attacker, 10, 16), *others], [(victim, 10 + distance, 16), *others])
    battle.play({0: battle.attack(0)}, steps=1)
    target = battle.enemies[0]
    assert target.shield_max - target.shield == shield
    assert target.health_max - target.health == health


@pytest.mark.parametrize(
    ("attacker", "left", "health"),
    [
        ("stalker", 5, 18 - 5 - 1),  # what the shield lets through is reduced by armour
        ("marine", 5, 0.5),  # never less than half a point, however thick the armour
        ("zealot", 4, (8 - 4 - 1) + (8 - 1)),  # the first hit breaks the shield, the second meets none
        ("zealot", 8, 8 - 1),
    ],
)
def test_what_a_shield_lets_through(arena: Make, attacker: str, left: float, health: float) -> None:
    battle = arena([(attacker, 10, 16)], [("stalker", 11.1, 16)])
    battle.enemies[0].shield, battle.enemies[0].peace = left, 0
    battle.play({0: battle.attack(0)})
    assert battle.enemies[0].shield == 0.0
    assert battle.enemies[0].health == 80 - health


def test_shields_return_after_160_loops_of_peace(arena: Make) -> None:
    battle = arena([("stalker", 10, 16)], [("zealot", 15, 16)])
    zealot = battle.enemies[0]
    battle.play({0: battle.attack(0)})
    battle.play(steps=159)
    assert zealot.shield == 50 - 13
    battle.play(steps=8)
    assert zealot.shield == 50 - 13 + 8 * 0.125  # 2.8 per second of 22.4 loops
    battle.play(steps=200)
    assert zealot.shield == 50


def test_a_colossus_burns_what_stands_across_its_line_of_fire(arena: Make) -> None:
    enemies = [
        ("marine", 16.0, 16.0),  # the target
        ("marine", 16.0, 17.7),  # 1.7 aside: its rim reaches 1.325, within 1.4
        ("marine", 16.0, 14.2),  # 1.8 aside: its rim is at 1.425, beyond 1.4
        ("marine", 16.5, 15.3),  # 0.5 behind: its rim reaches 0.125, within 0.15
        ("marine", 16.6, 16.8),  # 0.6 behind: beyond
        ("medivac", 16.0, 16.3),  # flies above
    ]
    battle = arena([("colossus", 10, 16), ("marine", 15.9, 15.2)], enemies)
    battle.play({0: battle.attack(0)})
    lost = [unit.health_max - unit.health for unit in battle.enemies]
    assert lost == [30, 30, 0, 30, 0, 0]
    assert battle.agents[1].health == 45  # no harm to its own side


def test_splash_pays_for_every_victim(arena: Make) -> None:
    battle = arena([("colossus", 10, 16)], [("marine", 16, 16), ("marine", 16, 17)])
    last = battle.play({0: battle.attack(0)})
    scale = battle.env.world.draws[0].reward_scale
    assert last["reward"].item() == pytest.approx(scale * (30 + 30))
    battle.play({0: battle.attack(0)}, steps=23)  # 23.968 loops: the next blow falls in loop 25
    last = battle.play({0: battle.attack(0)})
    assert last["won"].item()
    assert last["reward"].item() == pytest.approx(scale * (15 + 15 + 2 * 10 + 200))  # what was left, kills, victory


def test_a_medivac_heals_12_6_a_second_and_pays_a_third_of_it_in_energy(arena: Make) -> None:
    battle = arena([("medivac", 10, 16), ("marauder", 12, 16)], [("marine", 28, 28)])
    medivac, marauder = battle.agents
    marauder.health = 100.0
    battle.play({0: battle.heal(1)}, steps=16)
    assert marauder.health == pytest.approx(100 + 16 * 12.6 / 22.4)
    assert medivac.energy == pytest.approx(50 - 16 * 12.6 / 22.4 / 3 + 16 * 0.7875 / 22.4)
    battle.play({0: battle.heal(1)}, steps=100)
    assert marauder.health == 125.0


def test_without_energy_a_medivac_heals_what_it_regenerates(arena: Make) -> None:
    battle = arena([("medivac", 10, 16), ("marauder", 12, 16)], [("marine", 28, 28)])
    medivac, marauder = battle.agents
    marauder.health, medivac.energy = 50.0, 0.0
    battle.play({0: battle.heal(1)}, steps=10)
    assert medivac.energy == pytest.approx(0.0)
    assert marauder.health == pytest.approx(50 + 10 * 3 * 0.7875 / 22.4)


def test_damage_and_healing_of_one_loop_count_together_but_the_dead_stay_dead(arena: Make) -> None:
    battle = arena(
        [("medivac", 10, 16), ("marine", 12, 16), ("marine", 12, 20)], [("marine", 15, 16), ("marine", 15, 20)]
    )
    for agent, health in ((1, 6.5), (2, 6.0)):
        battle.agents[agent].health = health
    for enemy in battle.enemies:
        enemy.cooldown = 0.0
    battle.play({0: battle.heal(1)})
    assert battle.agents[1].health == pytest.approx(0.5 + 12.6 / 22.4)
    assert not battle.agents[2].alive


def test_medivacs_alone_have_lost(arena: Make) -> None:
    battle = arena([("medivac", 10, 16), ("marine", 12, 16)], [("marine", 15, 16)])
    battle.agents[1].health, battle.enemies[0].cooldown = 1.0, 0.0
    last = battle.play()
    assert battle.agents[0].alive
    assert last["terminated"].item()
    assert not last["won"].item()


def test_the_enemy_has_lost_when_only_its_medivacs_live(arena: Make) -> None:
    battle = arena([("marine", 10, 16)], [("marine", 15, 16), ("medivac", 18, 16)])
    battle.enemies[0].health = 1.0
    last = battle.play({0: battle.attack(0)})
    assert battle.enemies[1].alive
    assert last["won"].item()
