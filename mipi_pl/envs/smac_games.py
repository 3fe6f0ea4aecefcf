"""SmacGames: what SMAC's and SMACv2's environments have in common, as an entity environment."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mipi_pl.envs.actions import first_unavailable, refuse_unavailable
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.composition import Composition
from mipi_pl.envs.frame import Frame
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.checks import require

MOVES = ("no_op", "stop", "north", "south", "east", "west")
"""Actions without a target, the first ones of both packages."""


def level(difficulty: int) -> str:
    """Return the name of a level of the built-in enemy, 1 to 10, in both packages.

    Raises:
        ValueError: if there is no such level.
    """
    require("env.difficulty", difficulty, 1, 10)
    return "A" if difficulty == 10 else str(difficulty)


class SmacGames(EntityEnv):
    """Games of one of these packages, with its rules, masks, state attributes and rewards.

    The features of an entity are the attributes of the package's state, the side, a tag within the army, and the
    available actions. A target action refers to the unit with this tag: an enemy, or for a Medivac an agent. The
    package restarts a game that dies; the episode of that game ends as truncated.

    Args:
        game: a game that has not started, which names the attributes of the state.
        n_agents: A, number of agent slots.
        n_enemies: M, number of enemy slots.
        compositions: compositions that the episodes play.
        num_envs: B, number of games, stepped in parallel.
        seed: seed of the games.
        device: device of the returned tensors.
        n_targets: number of target actions.
    """

    resumable = False

    def __init__(
        self,
        game: Any,
        n_agents: int,
        n_enemies: int,
        compositions: Sequence[Composition],
        num_envs: int,
        seed: int,
        device: str | torch.device,
        n_targets: int,
    ) -> None:
        self._ally, self._enemy = self.attributes(game)
        actions = (*MOVES, *(f"target_{k}" for k in range(n_targets)))
        tags = tuple(f"tag_{k}" for k in range(max(n_agents, n_enemies)))
        available = tuple(f"available_{name}" for name in actions[2:])
        state = tuple(dict.fromkeys([*self._ally, *self._enemy]))
        names = ("is_agent", *tags, *available, *state)
        self._columns = {name: k for k, name in enumerate(names)}
        self._games: list[Any] = []
        self._ends = [(False, False, False)] * num_envs  # terminated, truncated, won
        self._lost = [False] * num_envs
        self._tags = np.tile(np.arange(len(tags)), (num_envs, 1))  # tag of the k-th unit of each army
        self._threads = ThreadPoolExecutor(num_envs, "smac")
        entities, limit = n_agents + n_enemies, int(game.episode_limit)
        spec = EntitySpec(n_agents, entities, len(names), len(actions), limit, names, actions)
        super().__init__(spec, compositions, num_envs, seed, device)

    # ------------------------------------------------------------------ methods that differ between the packages

    def attributes(self, game: Any) -> tuple[list[str], list[str]]:
        """Return the names of the state's attributes of an agent and of an enemy."""
        return list(game.ally_state_attr_names), list(game.enemy_state_attr_names)

    @abstractmethod
    def make_games(self, seeds: np.ndarray) -> list[Any]:
        """Make a game for each environment; its process starts with the first episode."""

    @abstractmethod
    def begin_game(self, b: int) -> int:
        """Begin an episode of environment `b` and return the index of its composition."""

    def close_games(self) -> None:
        """Close the games of all environments."""
        for game in self._games:
            game.close()
        self._games = []

    # ------------------------------------------------------------------ episodes

    def seed_rows(self, seeds: np.ndarray) -> None:
        """Replace all games by new ones with these seeds. Their processes start with the first episode."""
        self.close_games()
        self._seeds, self._episodes = seeds.copy(), np.zeros(len(seeds), dtype=np.int64)
        self._games = self.make_games(seeds)

    def begin(self, rows: Tensor, frame: Frame) -> None:
        """Begin new episodes in the rows that are True."""
        reset_rows = rows.nonzero().flatten().tolist()
        compositions = list(self._threads.map(self.begin_game, reset_rows))
        for b, composition in zip(reset_rows, compositions, strict=True):
            self._ends[b], self._lost[b] = (False, False, False), False
            self._episodes[b] += 1
            frame.composition[b] = composition
            if b not in self._faults.given_up:
                self._describe(b, frame)

    def advance(self, action: Tensor, frame: Frame) -> None:
        """Step every running game."""
        mask, all_rows = self._frame.action_mask, torch.ones(self.num_envs, dtype=torch.bool)
        refuse_unavailable(first_unavailable(action, mask, all_rows), action.numpy(), mask, self.entity_spec)
        running = [b for b in range(self.num_envs) if not any(self._ends[b])]
        lost = torch.tensor(self._lost)
        for name, last in vars(self._frame).items():  # lost games keep their last observation
            getattr(frame, name)[lost] = last[lost]
        frame.composition.copy_(self._frame.composition)
        frame.reward.zero_()
        rewards = list(self._threads.map(lambda b: self._step_game(b, action[b].numpy()), running))
        for b, reward in zip(running, rewards, strict=True):
            frame.reward[b] = reward
        for b in range(self.num_envs):
            if not self._lost[b]:
                self._describe(b, frame)
            frame.terminated[b], frame.truncated[b], frame.won[b] = self._ends[b]

    def _step_game(self, b: int, action: np.ndarray) -> float:
        if self._lost[b]:
            self._ends[b] = (False, True, False)
            return 0.0
        game, first = self._games[b], len(MOVES)
        unit_of = np.argsort(self._tags[b])
        played = [int(u) if u < first else first + int(unit_of[u - first]) for u in action[: game.n_agents]]
        reward, ended, info = game.step(played)
        if ended:  # a game that failed has no "battle_won"; its episode is truncated, neither won nor lost
            truncated = "battle_won" not in info or bool(info.get("episode_limit"))
            self._ends[b] = (not truncated, truncated, bool(info.get("battle_won", False)))
        return float(reward)

    def _describe(self, b: int, frame: Frame) -> None:
        """Write the observation of environment `b`. Each army fills the first slots of its side."""
        game, a, columns = self._games[b], self.entity_spec.n_agents, self._columns
        n, tags = game.n_agents, torch.from_numpy(self._tags[b])
        slots = torch.tensor([*range(n), *range(a, a + game.n_enemies)])
        mask = self._write_mask(b, torch.tensor(game.get_avail_actions(), dtype=torch.bool), frame)
        acting = ~mask[:n, 0]
        frame.present[b] = False
        frame.present[b, slots] = True
        visible = frame.visible[b].zero_()
        visible[:n, slots] = torch.from_numpy(np.asarray(game.get_visibility_matrix(), dtype=bool))
        visible[range(n), range(n)] = acting
        entities = frame.entities[b].zero_()
        entities[:n, columns["is_agent"]] = 1.0
        state = game.get_state_dict()
        for first, names, rows in ((0, self._ally, state["allies"]), (a, self._enemy, state["enemies"])):
            side = slice(first, first + len(rows))
            entities[range(first, first + len(rows)), columns["tag_0"] + tags[: len(rows)]] = 1.0
            for column, name in enumerate(names):
                entities[side, columns[name]] = torch.from_numpy(rows[:, column]).float()
        available = columns["available_north"]
        entities[:n, available : available + mask.shape[1] - 2] = (mask[:n, 2:] & acting[:, None]).float()

    def _write_mask(self, b: int, given: Tensor, frame: Frame) -> Tensor:
        """Write the available actions, bool [A, U], from those of the package, bool [n, moves + targets]."""
        n, first = len(given), len(MOVES)
        targets = torch.from_numpy(self._tags[b][: given.shape[1] - first])
        mask: Tensor = frame.action_mask[b].zero_()
        mask[n:, 0] = True
        mask[:n, :first] = given[:, :first]
        mask[:n, first + targets] = given[:, first:]
        return mask

    # ------------------------------------------------------------------ state

    def memory(self) -> dict[str, Tensor]:
        """Return the seeds and episode numbers. The state of a game cannot be saved."""
        return {"seeds": torch.from_numpy(self._seeds.view(np.int64).copy()), "episodes": torch.tensor(self._episodes)}

    def remember(self, memory: dict[str, Tensor]) -> None:
        """Start new games, seeded by the saved seeds and episode numbers so that they do not repeat earlier draws.

        The running episodes end as truncated.
        """
        pairs = zip(memory["seeds"].numpy().view(np.uint64).tolist(), memory["episodes"].tolist(), strict=True)
        self.seed_rows(np.array([np.random.SeedSequence(pair).generate_state(1, np.uint64)[0] for pair in pairs]))
        self._ends, self._lost = [(False, False, False)] * self.num_envs, [True] * self.num_envs

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Close the games."""
        self.close_games()
        self._threads.shutdown()
        super().close(raise_if_closed=raise_if_closed)
