"""SmacEnv: the fixed maps of the StarCraft Multi-Agent Challenge, played by its own package, in the entity contract."""

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

_COMMAND = "pip install 'mipi-pl[sc2]' && pip install --no-deps git+https://github.com/oxwhirl/smac.git"
_MOVES = ("no_op", "stop", "north", "south", "east", "west")


class SmacNotFoundError(ValueError):
    """The package of StarCraft's SMAC is not installed; the message says what is and how to get it."""


def check_package() -> None:
    """See whether the package `smac` is there, and is the one about StarCraft.

    Raises:
        SmacNotFoundError: if not.
    """
    found = find_spec("smac")
    if found is None:
        raise SmacNotFoundError(f"the package smac is missing: {_COMMAND}")
    folders = [Path(folder) for folder in found.submodule_search_locations or ()]
    if not any((folder / "env" / "starcraft2").is_dir() for folder in folders):
        raise SmacNotFoundError(
            "the installed package smac is not StarCraft's but AutoML's SMAC3, which has that name on PyPI: "
            f"pip uninstall smac, then {_COMMAND}"
        )


class SmacEnv(EntityEnv):
    """SMAC's `StarCraft2Env` on one of its maps; rules, masks, features and rewards are that package's.

    The team of a map never changes, so nothing is held out. Entities are described by the attributes of SMAC's state,
    the side, the place in the army as a tag, and the available actions. A game that dies is restarted by SMAC; its
    episode ends as truncated.

    Args:
        num_envs: B, processes of the game, stepped at the same time.
        seed: of the games' own draws.
        device: of the returned tensors.
        map_name: such as ``3m`` or ``3s5z``.
        team_sizes: None, or the map's own; other teams are refused.
        difficulty: of the built-in enemy, 1 to 10.
        max_evaluation_envs: processes of the game in an evaluation.

    Raises:
        ValueError: if the package, the game or the map is missing, or another team size is asked for.
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
        one = self._make(0, map_name)
        find_game().map_file(map_name)
        if team_sizes is not None and list(team_sizes) != [one.n_agents]:
            raise ValueError(
                f"SMAC's map {map_name} has {one.n_agents} agents and no other team, got team_sizes "
                f"{list(team_sizes)}; for training alone: held_out.team_sizes=[]"
            )
        self._ally, self._enemy = list(one.ally_state_attr_names), list(one.enemy_state_attr_names)
        a, m, u = one.n_agents, one.n_enemies, one.n_actions
        actions = (*_MOVES, *(f"target_{k}" for k in range(u - len(_MOVES))))
        state = tuple(dict.fromkeys([*self._ally, *self._enemy]))
        names = ("is_agent", *(f"tag_{k}" for k in range(max(a, m))), *(f"available_{n}" for n in actions[2:]), *state)
        self._columns = {name: k for k, name in enumerate(names)}
        self._games: list[Any] = []
        self._ends = [(False, False, False)] * num_envs  # terminated, truncated, won
        self._lost = [False] * num_envs
        self._threads = ThreadPoolExecutor(num_envs, "smac")
        spec = EntitySpec(a, a + m, len(names), u, int(one.episode_limit), names, actions)
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
        return StarCraft2Env(seed=seed, **self._options)  # the game is started by its first episode

    def seed_rows(self, seeds: np.ndarray) -> None:
        """Games of their own for the new seeds; they start with their first episode."""
        self._end_games()
        self._seeds, self._episodes = seeds.copy(), np.zeros(len(seeds), dtype=np.int64)
        self._games = [self._make(int(seed % 2**31), str(self._options["map_name"])) for seed in seeds]

    def begin(self, rows: Tensor, frame: Frame) -> None:
        """SMAC's `reset` where `rows` is True."""
        chosen = rows.nonzero().flatten().tolist()
        list(self._threads.map(lambda b: self._games[b].reset(), chosen))
        for b in chosen:
            self._ends[b], self._lost[b] = (False, False, False), False
            self._episodes[b] += 1
            self._describe(b, frame)

    def advance(self, action: Tensor, frame: Frame) -> None:
        """SMAC's `step` of every game that goes on."""
        mask, everywhere = self._frame.action_mask, torch.ones(self.num_envs, dtype=torch.bool)
        refuse_unavailable(first_unavailable(action, mask, everywhere), action.numpy(), mask, self.entity_spec)
        going = [b for b in range(self.num_envs) if not any(self._ends[b])]
        lost = torch.tensor(self._lost)
        for name, seen in vars(self._frame).items():  # what was last seen stays
            getattr(frame, name)[lost] = seen[lost]
        frame.reward.zero_()
        rewards = list(self._threads.map(lambda b: self._step_game(b, action[b].tolist()), going))
        for b, reward in zip(going, rewards, strict=True):
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
        if ended:  # without information when the game failed, and then it counts for neither side
            cut = "battle_won" not in info or bool(info.get("episode_limit"))
            self._ends[b] = (not cut, cut, bool(info.get("battle_won", False)))
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
            for place, name in enumerate(names):
                entities[first : first + len(rows), columns[name]] = torch.from_numpy(rows[:, place]).float()
        available = columns["available_north"]
        entities[:a, available : available + mask.shape[1] - 2] = (mask[:, 2:] & alive[:, None]).float()

    def memory(self) -> dict[str, Tensor]:
        """Seeds and numbers of episodes; nothing of the game can be kept."""
        return {"seeds": torch.from_numpy(self._seeds.view(np.int64).copy()), "episodes": torch.tensor(self._episodes)}

    def remember(self, memory: dict[str, Tensor]) -> None:
        """New games, which do not draw again what the old ones drew; the episodes under way end as truncated."""
        pairs = zip(memory["seeds"].numpy().view(np.uint64).tolist(), memory["episodes"].tolist(), strict=True)
        self.seed_rows(np.array([np.random.SeedSequence(pair).generate_state(1, np.uint64)[0] for pair in pairs]))
        self._ends, self._lost = [(False, False, False)] * self.num_envs, [True] * self.num_envs

    def close(self, *, raise_if_closed: bool = True) -> None:
        """End the games."""
        self._end_games()
        self._threads.shutdown()
        super().close(raise_if_closed=raise_if_closed)

    def _end_games(self) -> None:
        for game in self._games:
            game.close()
        self._games = []
