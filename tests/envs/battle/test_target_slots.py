"""Battles whose target actions name slots: no tag is visible, and only the number of slots depends on the capacity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mipi_pl import spec as keys
from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.evaluation.rollout import play

Make = Callable[..., BattleEnv]


@pytest.mark.parametrize("family", ["marines", "mmm"])
def test_features_and_kinds_of_action_do_not_depend_on_the_capacity(make_battle: Make, family: str) -> None:
    small, large = (
        make_battle(family, [3], capacity=capacity, num_envs=1, target_actions="slots").entity_spec
        for capacity in (3, 27)
    )
    assert small.feature_names == large.feature_names
    assert small.targets == large.targets == (("others", "agents") if family == "mmm" else ("others",))
    assert small.n_kinds == large.n_kinds == 6 + len(small.targets)
    assert large.n_actions == 6 + 27 * len(small.targets)
    assert not any(name.startswith("tag") for name in small.feature_names)


def test_an_action_aims_at_its_slot_and_one_feature_tells_that_any_attack_or_heal_is_available(
    make_battle: Make,
) -> None:
    env = make_battle("mmm", [5], capacity=6, num_envs=4, target_actions="slots", random_tags=True)
    names, aimed, none = env.entity_spec.feature_names, 0, 0
    columns = [names.index("available_any_attack"), names.index("available_any_heal")]
    player, td = env.scripted_policy("focus_fire"), env.reset()
    for _ in range(20):
        for b in range(4):
            units = {unit.slot: unit for unit in env.snapshot(b).units}
            assert all(unit.tag == unit.slot % 6 for unit in units.values())
            for i in range(6):
                mask = td[keys.ACTION_MASK][b, i].tolist()
                groups = (mask[6:12], mask[12:18])
                assert td[keys.ENTITIES][b, i, columns].tolist() == [float(any(group)) for group in groups]
                aimed, none = aimed + any(groups[0]), none + (not any(groups[0]))
                for k in range(6):
                    for action, slot in ((6 + k, 6 + k), (12 + k, k)):
                        if mask[action]:
                            assert units[slot].alive
                            assert np.hypot(units[slot].x - units[i].x, units[slot].y - units[i].y) <= 6
        _, td = env.step_and_maybe_reset(player(td))
    assert aimed > 50
    assert none > 50


def test_scripted_players_fight_the_same_battles_as_with_tags(make_battle: Make) -> None:
    """The first episode of each environment; later ones follow other draws, as tags are no longer dealt."""
    played = []
    for target_actions in ("tags", "slots"):
        env = make_battle("mmm", [4], num_envs=8, target_actions=target_actions)
        played.append(play(env, env.scripted_policy("attack_nearest")))
    assert played[0].length.tolist() == played[1].length.tolist()
    assert played[0].won.tolist() == played[1].won.tolist()


def test_another_kind_of_target_action_is_refused(make_battle: Make) -> None:
    with pytest.raises(ValueError, match="target_actions must be 'tags' or 'slots', got 'names'"):
        make_battle("marines", target_actions="names")
