"""SmacEnv: the fixed maps of the StarCraft Multi-Agent Challenge (package `smac`) as an entity environment."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mipi_pl.envs.composition import Composition
from mipi_pl.envs.smac_games import MOVES, SmacGames, level
from mipi_pl.envs.starcraft2 import protobuf
from mipi_pl.envs.starcraft2.installation import check_extra, find_game
from mipi_pl.utils.extras import how_to_install

_SMAC = "pip install --no-deps git+https://github.com/oxwhirl/smac.git"


class SmacNotFoundError(ValueError):
    """The package `smac` is missing, or an unrelated package of that name is installed."""


def check_package() -> Path:
    """Check that the package `smac` is installed and is the StarCraft one, and return its folder.

    Raises:
        SmacNotFoundError: if it is not. The message says how to install it.
    """
    package = find_spec("smac")
    if package is None:
        raise SmacNotFoundError(f"the package smac is missing: {how_to_install('sc2')} && {_SMAC}")
    folders = [Path(folder) for folder in package.submodule_search_locations or ()]
    for folder in folders:
        if (folder / "env" / "starcraft2").is_dir():
            return folder
    raise SmacNotFoundError(
        "expected the package smac of StarCraft, got AutoML's SMAC3, which has the same name on PyPI: "
        f"pip uninstall smac, then {how_to_install('sc2')} && {_SMAC}"
    )


class SmacEnv(SmacGames):
    """SMAC's `StarCraft2Env` on one of its maps, with the rules, masks, state attributes and rewards of that package.

    A map has a single fixed team, so nothing is held out. The tag of a unit is its index within the army. See
    `SmacGames` for features and failures.

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
        self._options = {"map_name": map_name, "difficulty": level(difficulty), "continuing_episode": True}
        game = self._make(0, map_name)
        find_game().map_file(map_name)
        if team_sizes is not None and list(team_sizes) != [game.n_agents]:
            raise ValueError(
                f"SMAC's map {map_name} only has teams of {game.n_agents} agents, got team_sizes {list(team_sizes)}; "
                "to train without held-out teams, set held_out.team_sizes=[]"
            )
        a, n_targets = game.n_agents, game.n_actions - len(MOVES)
        team = (Composition(((map_name, a),)),)
        super().__init__(game, a, game.n_enemies, team, num_envs, seed, device, n_targets)
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

    def make_games(self, seeds: np.ndarray) -> list[Any]:
        """Make SMAC's environments of the map."""
        return [self._make(int(seed % 2**31), str(self._options["map_name"])) for seed in seeds]

    def begin_game(self, b: int) -> int:
        """Call SMAC's `reset`."""
        self._games[b].reset()
        return 0
