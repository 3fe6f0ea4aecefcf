"""StarCraft2Env: the battle with the game's physics."""

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

from mipi_pl.envs.base import Frame
from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.envs.battle.rules_driven import driven_entries
from mipi_pl.envs.battle.rules_state import GOING_ON, TIME_UP
from mipi_pl.envs.kernels.records import output_of
from mipi_pl.envs.starcraft2.installation import check_extra, find_game
from mipi_pl.utils.checks import require
from mipi_pl.utils.errors import FailedError, UserError


class StarCraft2Env(BattleEnv):
    """Battles in StarCraft II, one process of the game for each; everything but the physics is `BattleEnv`'s.

    Compositions, places, tags, orders, features, masks and rewards come from the same functions and draws. The games
    step at the same time, each waited for by a thread. They are started with the first episode. A game that dies or
    does not answer is replaced: its episode ends as truncated, the other games go on.

    Args:
        num_envs: B, processes of the game.
        seed: of compositions, places and tags, and of the game's own draws.
        device: of the returned tensors.
        map_name: an empty, flat map that defines SMAC's units.
        version: of the game, such as ``4.10`` or ``Base75689``; None takes the newest that is installed.
        start_timeout_s: within which a game must have started.
        timeout_s: after which a game that does not answer is replaced.
        attempts: how often in a row a battle is tried to be started before giving up.
        battles_per_game: after which a new game begins in the same process, and with it a new replay.
        replay_dir: for a replay of each game, with all its battles; None saves none.
        max_evaluation_envs: processes of the game in an evaluation.
        battle: the arguments of `BattleEnv`; `acquisition_range` and `parallel` mean nothing here.

    Attributes:
        faults: games of this environment that failed in the middle of a battle, whose episodes were cut short.

    Raises:
        ValueError: for impossible values, or if the game, its map or the extra `sc2` is missing.
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
            raise ValueError("both_scripted must be false in StarCraft II: only the simulator can play both sides")
        battle.pop("parallel", None)  # of no meaning here
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

        installation = find_game(version)
        map_file = installation.map_file(map_name)
        super().__init__(num_envs=num_envs, seed=seed, device=device, parallel=False, **battle)
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
        """Draw new battles and let the games set them up.

        Raises:
            FailedError: if a game cannot be started.
            UserError: if the battle's square does not fit the map.
        """
        super().begin(rows, frame)
        self._at_once(self._begin_battle, rows.nonzero().flatten().tolist())
        driven_entries.look(
            rows.numpy(), self._battles, self._units, self._world, self._columns, output_of(frame)
        )  # fmt: skip

    def advance(self, action: Tensor, frame: Frame) -> None:
        """One step of every battle that goes on."""
        played = np.ascontiguousarray(action.numpy())
        self._refuse_unavailable(played)
        driven_entries.order(played, self._battles, self._units, self._world)
        self._at_once(self._play, [b for b in range(self.num_envs) if self._battles[b].ended == GOING_ON])
        driven_entries.judge(self._battles, self._units, self._world, self._columns, output_of(frame))

    def _at_once(self, work: Callable[[int], None], rows: Iterable[int]) -> None:
        for done in [self._threads.submit(work, b) for b in rows]:
            done.result()

    def _begin_battle(self, b: int) -> None:
        from mipi_pl.envs.starcraft2 import messages, pool
        from mipi_pl.envs.starcraft2.game import GameError

        types = [unit.name for unit in self.scenario.types]
        army = messages.army_of(self._units[b], self.entity_spec.n_agents, types)
        towards = (float(self._battles[b].agents_x), float(self._battles[b].agents_y))
        self._lost[b] = False
        for attempt in range(1, self._attempts + 1):
            try:
                if self._games[b] is None:
                    self._games[b] = pool.take(replace(self._options, seed=self._options.seed + b))
                elif self._games[b].battles >= self._battles_per_game:
                    self._save_replay(b)
                    self._games[b].restart()
                self._games[b].begin(army, towards, self._units[b])
                return
            except ValueError as error:  # the map is too small, in every other game too
                raise UserError(str(error)) from error
            except GameError as error:
                self._drop(b)
                _say(f"environment {b}: no battle in attempt {attempt} of {self._attempts} ({error})")
                reason = error
        raise FailedError(
            f"StarCraft II could not start a battle in {self._attempts} attempts; the last one: {reason}; "
            "see what is wrong with: mipi doctor"
        ) from reason

    def _play(self, b: int) -> None:
        from mipi_pl.envs.starcraft2.game import GameError

        try:
            if self._lost[b]:
                raise GameError("the battle was left behind when the run was stopped")
            self._games[b].play(self._units[b], self.entity_spec.n_agents, self.scenario.loops_per_step)
        except GameError as error:
            self._drop(b)
            self._battles[b].ended = TIME_UP  # pays nothing and is truncated; what was last seen stays
            self.faults += int(not self._lost[b])
            _say(f"environment {b}: the battle is cut short ({error}); the next one gets a new game")

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
            _say(f"environment {b}: the replay is not saved ({error})")

    # ------------------------------------------------------------------ state

    def remember(self, memory: dict[str, Tensor]) -> None:
        """The draws go on from there. The battles that were under way cannot: their next step truncates them."""
        super().remember(memory)
        self._lost = [True] * self.num_envs

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Save replays and pass the games on to the next environment."""
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


def _say(message: str) -> None:
    print(f"StarCraft II, {message}", file=sys.stderr)
