"""Battles with equal seed and actions are bit-for-bit equal in the simulator and through the game's protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDictBase

from mipi_pl import spec as keys
from mipi_pl.envs.base import EntityEnv
from mipi_pl.utils.errors import UserError


def differences(one: TensorDictBase, other: TensorDictBase) -> list[Any]:
    assert set(one.keys(True, True)) == set(other.keys(True, True))
    return [name for name in one.keys(True, True) if not torch.equal(one[name], other[name])]


def test_both_backends_show_the_same_battles(installed: Any, mixed_player: Callable[[EntityEnv], Any]) -> None:
    game, simulator = installed.game(enemy_delta=1), installed.simulator(enemy_delta=1)
    play, ended, length = mixed_player(simulator), 0, 0
    one, other = game.reset(), simulator.reset()
    while ended < 12:
        assert differences(one, other) == [], length
        action = play(other)[keys.ACTION]
        one[keys.ACTION], other[keys.ACTION] = action, action.clone()
        (seen, one), (expected, other) = game.step_and_maybe_reset(one), simulator.step_and_maybe_reset(other)
        assert differences(seen["next"], expected["next"]) == [], length
        ended, length = ended + int(expected["next", "done"].sum()), length + 1
    assert game.faults == 0
    assert game.snapshot(0).units[0].type == simulator.snapshot(0).units[0].type


def test_what_is_sampled_from_the_game_fits_its_specs(installed: Any) -> None:
    from torchrl.envs.utils import check_env_specs

    installed.set()
    check_env_specs(installed.game(num_envs=1, episode_limit=2))


def test_two_scripts_are_for_the_simulator(installed: Any) -> None:
    with pytest.raises(ValueError, match="both_scripted must be false in StarCraft II"):
        installed.game(both_scripted=True)


def test_a_unit_whose_ids_in_the_game_are_unknown_is_refused(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mipi_pl.envs.starcraft2 import messages

    monkeypatch.setattr(messages, "UNIT_IDS", {})
    with pytest.raises(ValueError, match=r"the real game's ids of .* are not known: add them to UNIT_IDS in"):
        installed.game(num_envs=1)


def test_a_square_that_does_not_fit_the_map_is_refused(installed: Any) -> None:
    installed.set(playable=20)
    with pytest.raises(
        UserError, match=r"needs a playable area of 32 x 32, but the map has 20 x 20: lower env.map_size"
    ):
        installed.game(num_envs=1).reset()
