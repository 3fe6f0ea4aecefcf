"""StarCraft2Env: battles simulated by StarCraft II itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.envs.battle.rules_driven import driven_entries
from mipi_pl.envs.battle.rules_state import GOING_ON, TIME_UP
from mipi_pl.envs.frame import Frame
from mipi_pl.envs.kernels.records import output_of
from mipi_pl.envs.starcraft2.installation import check_extra, find_game
from mipi_pl.utils.checks import require
from mipi_pl.utils.errors import FailedError, UserError


class StarCraft2Env(BattleEnv):
    """Battles in StarCraft II, one game process per battle. Only the physics differs from `BattleEnv`.

    Compositions, positions, tags, orders, features, masks and rewards come from the same functions and random draws.
    The games step in parallel; one thread waits for each. They start with the first episode. A game that dies or does
    not answer is replaced: its episode ends as truncated, and the other games continue.

    Args:
        num_envs: B, number of game processes.
        seed: seed of compositions, positions and tags, and of the game's own draws.
        device: device of the returned tensors.
        map_name: empty, flat map that defines SMAC's units.
        version: game version, such as ``4.10`` or ``Base75689``; None selects the newest installed one.
        start_timeout_s: maximum time for a game to start.
        timeout_s: maximum time for an answer; a game that exceeds it is replaced.
        attempts: number of consecutive attempts to start a battle before an error.
        battles_per_game: battles after which the process starts a new game, and with it a new replay.
        replay_dir: folder for one replay per game, with all its battles; None saves no replays.
        max_evaluation_envs: maximum number of game processes in an evaluation.
        battle: arguments of `BattleEnv`; `acquisition_range` and `parallel` have no effect here.

    Attributes:
        faults: number of games that failed during a battle; the episodes of these battles were cut short.

    Raises:
        ValueError: for invalid values, or if the game, its map or the extra `sc2` is missing.
    """

    resumable = False

    def __init__(
        self,
        num_envs: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
        map_name: str = "empty_passive",
        version: str | None = None,
        start_timeout_s: int = 180,
        timeout_s: int = 60,
        attempts: int = 3,
        battles_per_game: int = 500,
        replay_dir: str | None = None,
        max_evaluation_envs: int = 4,
        **battle: Any,
    ) -> None:
        if battle.pop("both_scripted", False):
            raise ValueError("both_scripted must be false in StarCraft II: only the simulator can script both sides")
        battle.pop("parallel", None)  # has no effect here
        limits = {
            "start_timeout_s": start_timeout_s,
            "timeout_s": timeout_s,
            "attempts": attempts,
            "battles_per_game": battles_per_game,
        }
        for name, value in {**limits, "max_evaluation_envs": max_evaluation_envs}.items():
            require(f"env.{name}", value, 1)
        check_extra()
        from mipi_pl.envs.starcraft2.game import GameOptions
        from mipi_pl.envs.starcraft2.messages import UNIT_IDS

        installation = find_game(version)
        map_file = installation.map_file(map_name)
        super().__init__(num_envs=num_envs, seed=seed, device=device, parallel=False, **battle)
        if unknown := [unit.name for unit in self.scenario.types if unit.name not in UNIT_IDS]:
            raise ValueError(
                f"the real game's ids of {', '.join(unknown)} are not known: add them to UNIT_IDS in "
                "mipi_pl/envs/starcraft2/messages.py"
            )
        self.max_evaluation_envs, self.faults = max_evaluation_envs, 0
        self._attempts, self._battles_per_game = attempts, battles_per_game
        self._replay_dir = None if replay_dir is None else Path(replay_dir)
        self._options = GameOptions(
            installation, map_file, self.scenario.map_size, seed % 2**30, start_timeout_s, timeout_s
        )
        self._games: list[Any] = [None] * num_envs
        self._lost = [False] * num_envs
        self._threads = ThreadPoolExecutor(num_envs, "starcraft2")

    # ------------------------------------------------------------------ episodes

    def begin(self, rows: Tensor, frame: Frame) -> None:
        """Draw new battles and set them up in the games.

        Raises:
            FailedError: if a game cannot be started.
            UserError: if the battle's square does not fit on the map.
        """
        super().begin(rows, frame)
        self._in_threads(self._begin_battle, rows.nonzero().flatten().tolist())
        driven_entries.look(
            rows.numpy(), self._battles, self._units, self._world, self._columns, output_of(frame)
        )  # fmt: skip

    def advance(self, action: Tensor, frame: Frame) -> None:
        """Play one step in every running battle."""
        played = np.ascontiguousarray(action.numpy())
        self._refuse_unavailable(played)
        driven_entries.order(played, self._battles, self._units, self._world)
        self._in_threads(self._play, [b for b in range(self.num_envs) if self._battles[b].ended == GOING_ON])
        driven_entries.judge(self._battles, self._units, self._world, self._columns, output_of(frame))

    def _in_threads(self, work: Callable[[int], None], rows: Iterable[int]) -> None:
        for future in [self._threads.submit(work, b) for b in rows]:
            future.result()

    def _begin_battle(self, b: int) -> None:
        from mipi_pl.envs.starcraft2 import messages, pool
        from mipi_pl.envs.starcraft2.game import GameError

        types = [unit.name for unit in self.scenario.types]
        army = messages.army_of(self._units[b], self.entity_spec.n_agents, types)
        agents_spawn = (float(self._battles[b].agents_x), float(self._battles[b].agents_y))
        self._lost[b] = False
        for attempt in range(1, self._attempts + 1):
            try:
                if self._games[b] is None:
                    self._games[b] = pool.take(replace(self._options, seed=self._options.seed + b))
                elif self._games[b].battles >= self._battles_per_game:
                    self._save_replay(b)
                    self._games[b].restart()
                self._games[b].begin(army, agents_spawn, self._units[b])
                return
            except ValueError as error:  # the map is too small; a new game would not help
                raise UserError(str(error)) from error
            except GameError as error:
                self._drop(b)
                _warn(f"environment {b}: attempt {attempt} of {self._attempts} to start a battle failed ({error})")
                reason = error
        raise FailedError(
            f"StarCraft II could not start a battle in {self._attempts} attempts; the last error: {reason}; "
            "to find the cause, run: mipi doctor",
            reported_by_any_process=True,
        ) from reason

    def _play(self, b: int) -> None:
        from mipi_pl.envs.starcraft2.game import GameError

        try:
            if self._lost[b]:
                raise GameError("a battle cannot be restored from a saved state")
            self._games[b].play(self._units[b], self.entity_spec.n_agents, self.scenario.loops_per_step)
        except GameError as error:
            self._drop(b)
            self._battles[b].ended = TIME_UP  # truncates with reward 0 and keeps the last observation
            self.faults += int(not self._lost[b])
            _warn(f"environment {b}: the battle is cut short ({error}); the next battle starts in a new game")

    def _drop(self, b: int) -> None:
        game, self._games[b] = self._games[b], None
        if game is not None:
            game.kill()

    def _save_replay(self, b: int) -> None:
        if self._replay_dir is None or self._games[b].battles == 0:
            return
        name = f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}_{b}.SC2Replay"
        try:
            self._games[b].save_replay(self._replay_dir / name)
        except OSError as error:
            _warn(f"environment {b}: the replay could not be saved ({error}); check env.replay_dir")

    # ------------------------------------------------------------------ state

    def remember(self, memory: dict[str, Tensor]) -> None:
        """Restore the random generators and the battles' records. Running battles end as truncated at the next step."""
        super().remember(memory)
        self._lost = [True] * self.num_envs

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Save replays and return the games to the pool for the next environment."""
        from mipi_pl.envs.starcraft2 import pool
        from mipi_pl.envs.starcraft2.game import GameError

        for b, game in enumerate(self._games):
            if game is None:
                continue
            try:
                self._save_replay(b)
                if self._replay_dir is not None:
                    game.restart()
                pool.give_back(replace(self._options, seed=self._options.seed + b), game)
                self._games[b] = None
            except GameError:
                self._drop(b)
        self._threads.shutdown()
        super().close(raise_if_closed=raise_if_closed)


def _warn(message: str) -> None:
    print(f"StarCraft II, {message}", file=sys.stderr)
