"""SmacEnv: the fixed maps of the StarCraft Multi-Agent Challenge (package `smac`) as an entity environment."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mipi_pl.envs.base import EntityEnv, Frame
from mipi_pl.envs.composition import Composition
from mipi_pl.envs.kernels.records import first_unavailable, refuse_unavailable
from mipi_pl.envs.starcraft2 import protobuf
from mipi_pl.envs.starcraft2.installation import check_extra, find_game
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.extras import how_to_install

_SMAC = "pip install --no-deps git+https://github.com/oxwhirl/smac.git"
_MOVES = ("no_op", "stop", "north", "south", "east", "west")


class SmacNotFoundError(ValueError):
    """The package `smac` is missing, or an unrelated package of that name is installed."""


def check_package() -> None:
    """Check that the package `smac` is installed and is the StarCraft one.

    Raises:
        SmacNotFoundError: if it is not. The message says how to install it.
    """
    package = find_spec("smac")
    if package is None:
        raise SmacNotFoundError(f"the package smac is missing: {how_to_install('sc2')} && {_SMAC}")
    folders = [Path(folder) for folder in package.submodule_search_locations or ()]
    if not any((folder / "env" / "starcraft2").is_dir() for folder in folders):
        raise SmacNotFoundError(
            "expected the package smac of StarCraft, got AutoML's SMAC3, which has the same name on PyPI: "
            f"pip uninstall smac, then {how_to_install('sc2')} && {_SMAC}"
        )


class SmacEnv(EntityEnv):
    """SMAC's `StarCraft2Env` on one of its maps, with the rules, masks, state attributes and rewards of that package.

    A map has a single fixed team, so nothing is held out. The features of an entity are the attributes of SMAC's state,
    its side, its index within the army as a tag, and its available actions. SMAC restarts a game that dies; the episode
    of that game ends as truncated.

    Args:
        num_envs: B, number of game processes, stepped in parallel.
        seed: seed of the games.
        device: device of the returned tensors.
        map_name: SMAC map, such as ``3m`` or ``3s5z``.
        team_sizes: None or the team size of the map; other sizes raise an error.
        difficulty: level of the built-in enemy, 1 to 10.
        max_evaluation_envs: maximum number of game processes in an evaluation.

    Raises:
        ValueError: if the package, the game or the map is missing, or `team_sizes` does not fit the map.
    """

    resumable = False
    team_arguments = ("map_name", "team_sizes")

    def __init__(
        self,
        num_envs: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
        map_name: str = "3s5z",
        team_sizes: Sequence[int] | None = None,
        difficulty: int = 7,
        max_evaluation_envs: int = 4,
    ) -> None:
        check_extra()
        check_package()
        self._options = {"map_name": map_name, "difficulty": str(difficulty), "continuing_episode": True}
        game = self._make(0, map_name)
        find_game().map_file(map_name)
        if team_sizes is not None and list(team_sizes) != [game.n_agents]:
            raise ValueError(
                f"SMAC's map {map_name} only has teams of {game.n_agents} agents, got team_sizes {list(team_sizes)}; "
                "to train without held-out teams, set held_out.team_sizes=[]"
            )
        self._ally, self._enemy = list(game.ally_state_attr_names), list(game.enemy_state_attr_names)
        a, m, u = game.n_agents, game.n_enemies, game.n_actions
        actions = (*_MOVES, *(f"target_{k}" for k in range(u - len(_MOVES))))
        state = tuple(dict.fromkeys([*self._ally, *self._enemy]))
        names = ("is_agent", *(f"tag_{k}" for k in range(max(a, m))), *(f"available_{n}" for n in actions[2:]), *state)
        self._columns = {name: k for k, name in enumerate(names)}
        self._games: list[Any] = []
        self._ends = [(False, False, False)] * num_envs  # terminated, truncated, won
        self._lost = [False] * num_envs
        self._threads = ThreadPoolExecutor(num_envs, "smac")
        spec = EntitySpec(a, a + m, len(names), u, int(game.episode_limit), names, actions)
        super().__init__(spec, (Composition(((map_name, a),)),), num_envs, seed, device)
        self.max_evaluation_envs = max_evaluation_envs

    def _make(self, seed: int, map_name: str) -> Any:
        protobuf.enable()
        from absl import flags
        from smac.env.starcraft2.maps.smac_maps import get_smac_map_registry
        from smac.env.starcraft2.starcraft2 import StarCraft2Env

        if not flags.FLAGS.is_parsed():
            flags.FLAGS(["mipi"])
        if map_name not in get_smac_map_registry():
            raise ValueError(f"SMAC has no map {map_name!r}; its maps are {', '.join(get_smac_map_registry())}")
        return StarCraft2Env(seed=seed, **self._options)  # the first reset starts the game

    def seed_rows(self, seeds: np.ndarray) -> None:
        """Replace all games by new ones with these seeds. Their processes start with the first episode."""
        self._close_games()
        self._seeds, self._episodes = seeds.copy(), np.zeros(len(seeds), dtype=np.int64)
        self._games = [self._make(int(seed % 2**31), str(self._options["map_name"])) for seed in seeds]

    def begin(self, rows: Tensor, frame: Frame) -> None:
        """Call SMAC's `reset` in the rows that are True."""
        reset_rows = rows.nonzero().flatten().tolist()
        list(self._threads.map(lambda b: self._games[b].reset(), reset_rows))
        for b in reset_rows:
            self._ends[b], self._lost[b] = (False, False, False), False
            self._episodes[b] += 1
            self._describe(b, frame)

    def advance(self, action: Tensor, frame: Frame) -> None:
        """Call SMAC's `step` in every running game."""
        mask, all_rows = self._frame.action_mask, torch.ones(self.num_envs, dtype=torch.bool)
        refuse_unavailable(first_unavailable(action, mask, all_rows), action.numpy(), mask, self.entity_spec)
        running = [b for b in range(self.num_envs) if not any(self._ends[b])]
        lost = torch.tensor(self._lost)
        for name, last in vars(self._frame).items():  # lost games keep their last observation
            getattr(frame, name)[lost] = last[lost]
        frame.reward.zero_()
        rewards = list(self._threads.map(lambda b: self._step_game(b, action[b].tolist()), running))
        for b, reward in zip(running, rewards, strict=True):
            frame.reward[b] = reward
        for b in range(self.num_envs):
            if not self._lost[b]:
                self._describe(b, frame)
            frame.terminated[b], frame.truncated[b], frame.won[b] = self._ends[b]

    def _step_game(self, b: int, action: list[int]) -> float:
        if self._lost[b]:
            self._ends[b] = (False, True, False)
            return 0.0
        reward, ended, info = self._games[b].step(action)
        if ended:  # a game that failed has no "battle_won"; its episode is truncated, neither won nor lost
            truncated = "battle_won" not in info or bool(info.get("episode_limit"))
            self._ends[b] = (not truncated, truncated, bool(info.get("battle_won", False)))
        return float(reward)

    def _describe(self, b: int, frame: Frame) -> None:
        game, a = self._games[b], self.entity_spec.n_agents
        state, columns = game.get_state_dict(), self._columns
        mask = torch.tensor(game.get_avail_actions(), dtype=torch.bool)
        alive = ~mask[:, 0]
        frame.present[b], frame.composition[b] = True, 0
        frame.visible[b] = torch.from_numpy(game.get_visibility_matrix())
        frame.visible[b, range(a), range(a)] = alive
        frame.action_mask[b] = mask
        entities = frame.entities[b].zero_()
        entities[:a, columns["is_agent"]] = 1.0
        for first, names, rows in ((0, self._ally, state["allies"]), (a, self._enemy, state["enemies"])):
            for k in range(len(rows)):
                entities[first + k, columns[f"tag_{k}"]] = 1.0
            for column, name in enumerate(names):
                entities[first : first + len(rows), columns[name]] = torch.from_numpy(rows[:, column]).float()
        available = columns["available_north"]
        entities[:a, available : available + mask.shape[1] - 2] = (mask[:, 2:] & alive[:, None]).float()

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
        self._close_games()
        self._threads.shutdown()
        super().close(raise_if_closed=raise_if_closed)

    def _close_games(self) -> None:
        for game in self._games:
            game.close()
        self._games = []
