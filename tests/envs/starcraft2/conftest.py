"""A stand-in for the game, installed for each test, and environments that play in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stand_in_game
from tensordict import TensorDictBase

from mipi_pl import spec as keys
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.battle.env import BattleEnv

EVERYTHING: dict[str, Any] = {
    "groups": [
        {"types": ["marine", "marauder", "stalker", "zealot"], "min": 2, "max": 6},
        {"types": ["colossus", "medivac"], "min": 0, "max": 2},
    ],
    "team_sizes": [3, 4, 5],
    "capacity": 8,
}
"""A family of all unit types of the paper."""


class Installed:
    """The stand-in as the game; environments of both kinds for the same battles."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = folder, patch
        self.game_folder = stand_in_game.install(folder / "game")
        self.envs: list[EntityEnv] = []
        patch.setenv("SC2PATH", str(self.game_folder))
        self.set()

    def set(self, scenario: dict[str, Any] | None = None, **more: Any) -> None:
        """What the stand-in is told, faults included."""
        setting = stand_in_game.write_setting(self.folder / "setting.json", scenario or EVERYTHING, **more)
        self._patch.setenv("STAND_IN", str(setting))

    def game(self, **more: Any) -> Any:
        from mipi_pl.envs.starcraft2.env import StarCraft2Env

        env = StarCraft2Env(**{"num_envs": 2, "seed": 3, "start_timeout_s": 300, **EVERYTHING, **more})
        self.envs.append(env)
        return env

    def simulator(self, **more: Any) -> BattleEnv:
        return BattleEnv(**{"num_envs": 2, "seed": 3, "parallel": False, **EVERYTHING, **more})


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    pytest.importorskip("pysc2", reason="needs the extra sc2: pip install 'mipi-pl[sc2]'")
    pytest.importorskip("aiohttp", reason="the stand-in serves its websocket with aiohttp")
    found = Installed(tmp_path, monkeypatch)
    yield found
    from mipi_pl.envs.starcraft2 import pool

    for env in found.envs:
        env.close(raise_if_closed=False)
    pool.close_idle()


Play = Callable[[TensorDictBase], TensorDictBase]


@pytest.fixture
def mixed_player() -> Callable[[BattleEnv], Play]:
    """Legal actions, some at random and some that fight, chosen by what the simulator shows."""

    def make(simulator: BattleEnv) -> Play:
        players = [simulator.scripted_policy(name, 1) for name in ("attack_nearest", "random", "focus_fire")]
        count = iter(range(10**6))
        return lambda td: players[next(count) % 3](td.select(keys.ACTION_MASK))

    return make
