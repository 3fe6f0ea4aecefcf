"""Effects of the units' orders, and the orders of the scripted enemies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Make = Callable[..., Any]
STOP, NORTH, SOUTH, EAST, WEST = 1, 2, 3, 4, 5


@pytest.mark.parametrize(("action", "dx", "dy"), [(NORTH, 0, 1), (SOUTH, 0, -1), (EAST, 1, 0), (WEST, -1, 0)])
def test_a_move_covers_speed_times_time(arena: Make, action: int, dx: int, dy: int) -> None:
    battle = arena([("marine", 16, 16)], [("marine", 2, 2)], loops_per_step=8)
    battle.play({0: action})
    way = 8 * 3.15 / 22.4
    assert battle.agents[0].x == pytest.approx(16 + dx * way)
    assert battle.agents[0].y == pytest.approx(16 + dy * way)


def test_a_mover_stops_after_two_units(arena: Make) -> None:
    battle = arena([("marine", 16, 16)], [("marine", 2, 2)], loops_per_step=20)
    battle.play({0: EAST})
    assert battle.agents[0].x == pytest.approx(18.0)
    assert battle.seen(0).order == "idle"


def test_agents_only_do_what_they_are_ordered(arena: Make) -> None:
    battle = arena([("marine", 14, 16)], [("marine", 16, 16)], loops_per_step=8)
    battle.play({0: STOP}, steps=5)
    assert battle.enemies[0].health == 45
    assert battle.agents[0].x == 14


def test_an_attack_order_out_of_range_walks_into_it(arena: Make) -> None:
    battle = arena([("zealot", 10, 16)], [("zealot", 15, 16)])
    for _ in range(60):
        battle.play({0: battle.attack(0)})
        if battle.enemies[0].shield < 50:
            break
    gap = battle.enemies[0].x - battle.agents[0].x - 1.0  # from edge to edge
    assert battle.enemies[0].shield == 50 - 16
    assert -0.02 <= gap <= 0.1
    walked = 5 - 1.1
    assert battle.env.snapshot(0).steps == int(np.ceil(walked / (3.15 / 22.4))) + 1


def test_a_unit_stands_when_its_target_dies_in_mid_step(arena: Make) -> None:
    battle = arena([("marine", 10, 16)], [("marine", 15, 16), ("marine", 15, 18)], loops_per_step=8)
    battle.enemies[0].health = 1.0
    battle.play({0: battle.attack(0)})
    unit = battle.seen(0)
    assert unit.order == "idle"
    assert unit.target is None
    assert battle.enemies[1].health == 45


def test_an_enemy_in_sight_is_never_left_standing(arena: Make) -> None:
    battle = arena([("marine", 16, 16)], [("marine", 24.9, 16)], loops_per_step=8)
    battle.enemies[0].speed, battle.enemies[0].cooldown = 3.15 / 22.4, 0.0
    battle.play(steps=40)
    assert not battle.agents[0].alive


def test_enemies_walk_to_the_agents_spawn(arena: Make) -> None:
    battle = arena([("marine", 31, 31)], [("marine", 3, 3)], loops_per_step=8)
    battle.env.battles[0].agents_x = battle.env.battles[0].agents_y = 9.0
    battle.enemies[0].speed = 3.15 / 22.4
    battle.play(steps=20)
    assert np.hypot(battle.enemies[0].x - 9, battle.enemies[0].y - 9) == pytest.approx(1.0)


def test_enemies_shoot_fighters_before_healers_then_the_nearest(arena: Make) -> None:
    battle = arena([("medivac", 14, 16), ("marine", 10, 16), ("marine", 11, 18)], [("marine", 15, 16)])
    battle.enemies[0].cooldown = 0.0
    battle.play()
    assert [u.health_max - u.health for u in battle.agents] == [0, 0, 6]


def test_an_enemy_keeps_a_target_that_attacks_it(arena: Make) -> None:
    battle = arena([("marine", 11, 16), ("marine", 19.9, 16)], [("marine", 16, 16)])
    battle.play({0: battle.attack(0)}, steps=3)
    target = battle.seen(battle.env.entity_spec.n_agents).target
    battle.agents[0].x, battle.agents[1].x = 10.5, 17.0  # the other is much nearer now, but does not attack
    assert target == 1
    battle.agents[1].x = 25.0
    battle.play({0: battle.attack(0)}, steps=3)
    battle.agents[1].x = 17.0
    battle.play({0: battle.attack(0)}, steps=3)
    assert battle.seen(battle.env.entity_spec.n_agents).target == 0


def test_enemy_medivacs_heal_the_most_wounded_in_reach_and_follow_their_army(arena: Make) -> None:
    enemies = [("medivac", 20, 16), ("marauder", 22, 16), ("marauder", 18, 17)]
    battle = arena([("marine", 3, 3)], enemies)
    battle.enemies[1].health, battle.enemies[2].health = 100.0, 90.0
    battle.play(steps=4)
    assert battle.enemies[2].health == pytest.approx(90 + 4 * 12.6 / 22.4)
    assert battle.enemies[1].health == 100
    for unit in battle.enemies[1:]:
        unit.health, unit.x = 125.0, unit.x - 8
    battle.enemies[0].speed = 3.5 / 22.4
    battle.play(steps=60)
    assert np.hypot(battle.enemies[0].x - 12, battle.enemies[0].y - 16.5) == pytest.approx(1.0)


def test_walkers_pass_those_that_stand_in_their_way(arena: Make) -> None:
    wall = [("zealot", 12, 15.0), ("zealot", 12, 16.0), ("zealot", 12, 17.0)]
    battle = arena([("zealot", 10, 16), *wall], [("zealot", 16, 16)])
    standing = [float(u.x) for u in battle.agents[1:]] + [float(u.y) for u in battle.agents[1:]]
    battle.play({0: battle.attack(0)}, steps=100)
    assert battle.enemies[0].shield < 50
    assert [*(u.x for u in battle.agents[1:]), *(u.y for u in battle.agents[1:])] == pytest.approx(standing)
