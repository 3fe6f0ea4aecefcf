"""Games that die, hang, are slow or never start: only the rest of one battle is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mipi_pl import spec as keys
from mipi_pl.envs.base import EntityEnv
from mipi_pl.utils.errors import FailedError

SEED, AT = 3, 4
"""The stand-in of environment 1 has this seed plus 1; it fails when it should play this step."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exit", "kill", "nonsense", "text", "hang"])
def test_a_game_that_fails_costs_the_rest_of_its_battle_and_nothing_else(
    kind: str, installed: Any, mixed_player: Callable[[EntityEnv], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    fault = {"kind": kind, "step": AT, "seed": SEED + 1, "marker": str(installed.folder / "failed")}
    installed.set(fault=fault)
    game, simulator = installed.game(timeout_s=5 if kind == "hang" else 60), installed.simulator()
    play = mixed_player(simulator)
    one, other = game.reset(), simulator.reset()
    for step in range(1, AT + 4):
        action = play(other)[keys.ACTION]
        other[keys.ACTION] = action
        # Environment 1 fights another battle when it has failed: there the agents that live stop.
        own = one[keys.ACTION_MASK][1, :, 1].long() if step > AT else action[1]
        one[keys.ACTION] = torch.stack([action[0], own])
        (seen, one), (expected, other) = game.step_and_maybe_reset(one), simulator.step_and_maybe_reset(other)
        for name in (keys.ENTITIES, keys.ACTION_MASK, keys.VISIBLE, keys.REWARD, keys.DONE):
            assert torch.equal(seen["next"][0].get(name), expected["next"][0].get(name)), (step, name)
        cut = seen["next"][1]
        assert bool(cut[keys.TRUNCATED]) == (step == AT)
        assert not cut[keys.TERMINATED]
        if step == AT:
            assert cut[keys.REWARD] == 0
            assert one[keys.IS_INIT].flatten().tolist() == [False, True]
    assert game.faults == 1
    assert "environment 1: the battle is cut short" in capfd.readouterr().err
    assert Path(fault["marker"]).exists()


def test_a_slow_game_is_waited_for(installed: Any) -> None:
    installed.set(fault={"kind": "slow", "step": 1, "seed": None})
    game = installed.game(num_envs=1)
    td = game.rollout(3, break_when_any_done=False)
    assert td.shape == (1, 3)
    assert game.faults == 0


def test_a_game_that_never_starts_ends_with_one_message(installed: Any, capfd: pytest.CaptureFixture[str]) -> None:
    installed.set(dead_at_start=True)
    with pytest.raises(FailedError, match="could not start a battle in 1 attempts; the last error: ConnectError"):
        installed.game(num_envs=1, attempts=1).reset()
    assert "attempt 1 of 1 to start a battle failed" in capfd.readouterr().err


def test_replays_are_saved_and_games_are_passed_on(installed: Any, tmp_path: Path) -> None:
    game = installed.game(num_envs=1, episode_limit=1, battles_per_game=2, replay_dir=str(tmp_path / "replays"))
    game.rollout(5, break_when_any_done=False)
    process = game._games[0]._process.pid
    saved = sorted((tmp_path / "replays").glob("*.SC2Replay"))
    assert len(saved) == 2, "a game of two battles each; the one that goes on is saved when it is closed"
    assert saved[0].read_bytes().endswith(b"loops")
    game.close()
    assert len(list((tmp_path / "replays").glob("*.SC2Replay"))) == 3
    other = installed.game(num_envs=1, seed=9)
    other.reset()
    assert other._games[0]._process.pid == process


def test_a_state_that_comes_back_ends_the_battles_that_were_under_way(installed: Any) -> None:
    game = installed.game(num_envs=1)
    td = game.rand_action(game.reset())
    game.step(td)
    state = game.get_extra_state()
    game.set_extra_state(state)
    after = game.step(game.rand_action())["next"]
    assert after[keys.TRUNCATED].all()
    assert game.faults == 0, "no game has failed"
    assert not game.resumable
