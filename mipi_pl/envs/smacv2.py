"""Smacv2Env: the battles of SMACv2 (package `smacv2`) with its varying teams as compositions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from mipi_pl.envs.composition import Composition, TypeGroup
from mipi_pl.envs.smac_games import SmacGames, level
from mipi_pl.envs.split import Mix, Split, played_mixes
from mipi_pl.envs.starcraft2 import protobuf
from mipi_pl.envs.starcraft2.installation import check_extra, find_game
from mipi_pl.utils.extras import how_to_install

_SMACV2 = "pip install --no-deps git+https://github.com/oxwhirl/smacv2.git"
_UNITS = {
    "10gen_terran": {"marine", "marauder", "medivac"},
    "10gen_protoss": {"stalker", "zealot", "colossus"},
    "10gen_zerg": {"zergling", "hydralisk", "baneling"},
}
"""Unit types that SMACv2 knows on each of its maps."""


class Smacv2NotFoundError(ValueError):
    """The package `smacv2` is missing."""


def draw_probabilities(compositions: Sequence[Composition], weights: Mapping[str, float]) -> np.ndarray:
    """Return the probability of each composition: float64 [number of compositions].

    A team size is drawn uniformly, then the type of each unit independently by its weight, as SMACv2 draws teams.
    Teams that are not listed are drawn again.

    Args:
        compositions: candidates.
        weights: positive weight of each unit type.
    """
    log = [
        math.lgamma(c.size + 1) + sum(n * math.log(weights[name]) - math.lgamma(n + 1) for name, n in c.counts)
        for c in compositions
    ]
    of_size: dict[int, float] = {}
    for c, value in zip(compositions, log, strict=True):
        of_size[c.size] = of_size.get(c.size, 0.0) + math.exp(value)
    return np.array([math.exp(v) / of_size[c.size] / len(of_size) for c, v in zip(compositions, log, strict=True)])


class Smacv2Env(SmacGames):
    """SMACv2's `StarCraftCapabilityEnvWrapper`, with the rules, masks, state attributes and rewards of that package.

    The team of an episode is a composition, drawn here instead of in the package, so that mixes and sizes can be held
    out. Start positions are drawn by the package. Both depend on `seed`. Tags are random in each episode, the same for
    the k-th unit of both armies. A game of the package has a fixed number of units, so each environment has one process
    of the game per team size. See `SmacGames` for features and failures.

    Args:
        unit_types: unit types of the teams; those of the map's race.
        weights: weight of each unit type in the draw of a team; see `draw_probabilities`.
        exception_unit_types: types that cannot make up a whole team.
        start_positions: distribution of the start positions, as in SMACv2's capability config: ``dist_type`` and its
            parameters.
        team_sizes: numbers of agents (``n_units`` in SMACv2).
        capacity: A, number of agent slots and tags.
        num_envs: B, stepped in parallel.
        seed: seed of teams, positions and games.
        device: device of the returned tensors.
        map_name: ``10gen_terran``, ``10gen_protoss`` or ``10gen_zerg``.
        enemy_delta: number of enemies minus number of agents. The enemies have the agents' team; additional ones are
            drawn by weight.
        mixes: mixes of these sizes to play: ``training``, ``held_out``, ``all``, or a list such as ``{marine: 5}``.
        split: held-out mixes, as the fields of `mipi_pl.envs.split.Split`; None holds nothing out.
        use_unit_ranges: whether a unit sees and attacks as far as in the game; if not, 9 and 6.
        difficulty: level of the built-in enemy, 1 to 10.
        max_evaluation_envs: maximum number of environments in an evaluation.

    Raises:
        ValueError: if the package, the game or the map is missing, or an argument is invalid.
    """

    team_arguments = ("team_sizes", "mixes", "split")
    neutral_arguments = ("capacity", "device")

    def __init__(
        self,
        unit_types: Sequence[str],
        weights: Sequence[float],
        exception_unit_types: Sequence[str],
        start_positions: Mapping[str, Any],
        team_sizes: Sequence[int],
        capacity: int,
        num_envs: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
        map_name: str = "10gen_terran",
        enemy_delta: int = 0,
        mixes: str | Sequence[Mix] = "training",
        split: Mapping[str, Any] | Split | None = None,
        use_unit_ranges: bool = True,
        difficulty: int = 7,
        max_evaluation_envs: int = 4,
    ) -> None:
        groups = _groups(map_name, unit_types, weights, exception_unit_types, capacity)
        parts = Split.from_config(split)
        compositions = played_mixes(groups, team_sizes, parts, mixes)
        _check_sizes(compositions, capacity, enemy_delta)
        check_extra()
        if find_spec("smacv2") is None:
            raise Smacv2NotFoundError(f"the package smacv2 is missing: {how_to_install('sc2')} && {_SMACV2}")
        self._weights = dict(zip(unit_types, weights, strict=True))
        self._exceptions, self._positions = set(exception_unit_types), dict(start_positions)
        self._probabilities = draw_probabilities(compositions, self._weights)
        self._delta = enemy_delta
        self._options = {
            "map_name": map_name,
            "difficulty": level(difficulty),
            "use_unit_ranges": use_unit_ranges,
            "continuing_episode": True,
        }
        self._of_size: list[dict[int, Any]] = []  # games of each environment, by team size
        game = self._make(capacity, 0)
        find_game().map_file(game.map_params["map_name"])
        n_enemies = capacity + max(enemy_delta, 0)
        targets = max(capacity, n_enemies)
        super().__init__(game, capacity, n_enemies, compositions, num_envs, seed, device, targets)
        self.withheld = tuple(sorted(parts.divide(groups)[1], key=lambda c: (c.size, c.counts)))
        self.max_evaluation_envs = max_evaluation_envs

    def _make(self, size: int, seed: int) -> Any:
        protobuf.enable()
        from smacv2.env import StarCraftCapabilityEnvWrapper

        team = {
            "dist_type": "weighted_teams",
            "unit_types": list(self._weights),
            "weights": list(self._weights.values()),
            "exception_unit_types": sorted(self._exceptions),
            "observe": True,
        }
        config = {
            "n_units": size,
            "n_enemies": size + self._delta,
            "team_gen": team,
            "start_positions": dict(self._positions),
        }
        return StarCraftCapabilityEnvWrapper(capability_config=config, seed=seed, **self._options)

    def attributes(self, game: Any) -> tuple[list[str], list[str]]:
        """Return the names of the state's attributes of an agent and of an enemy."""
        return [*game.ally_state_attr_names, *game.capability_attr_names], list(game.enemy_state_attr_names)

    def make_games(self, seeds: np.ndarray) -> list[Any]:
        """Prepare the random generators; games are made for the team sizes that are drawn."""
        self._random = [np.random.default_rng(int(seed)) for seed in seeds]
        self._of_size = [{} for _ in seeds]
        return [None] * len(seeds)

    def begin_game(self, b: int) -> int:
        """Draw a team and positions, and call SMACv2's `reset` with them."""
        from smacv2.env.starcraft2.starcraft2 import CannotResetException

        random = self._random[b]
        index = int(random.choice(len(self.compositions), p=self._probabilities))
        team = [name for name, n in self.compositions[index].counts for _ in range(n)]
        random.shuffle(team)
        if len(team) not in self._of_size[b]:
            self._of_size[b][len(team)] = self._make(len(team), int(random.integers(2**31)))
        self._games[b] = self._of_size[b][len(team)]
        self._tags[b] = random.permutation(self._tags.shape[1])
        teams = {"ally_team": team, "enemy_team": self._enemies(random, team), "id": index}
        try:
            self._games[b].env.reset({"team_gen": teams, **self._draw_positions(random, len(team))})
        except CannotResetException as error:
            self.give_up(b, str(error))
        return index

    def _enemies(self, random: np.random.Generator, team: list[str]) -> list[str]:
        """Return the enemies' team: that of the agents, shortened or with additional units drawn by weight."""
        names, weights = list(self._weights), np.array(list(self._weights.values()))
        extra: list[str] = []
        while len(extra) < self._delta:
            extra = random.choice(names, size=self._delta, p=weights / weights.sum()).tolist()
            if set(extra) <= self._exceptions:
                extra = []
        return [*team[: len(team) + self._delta], *extra] if self._delta < 0 else [*team, *extra]

    def _draw_positions(self, random: np.random.Generator, size: int) -> dict[str, Any]:
        """Return start positions from the package's distribution, which draws from an unseeded generator by itself."""
        from smacv2.env.starcraft2.distributions import get_distribution

        sizes = {"n_units": size, "n_enemies": size + self._delta, "env_key": "start_positions"}
        distribution = get_distribution(self._positions["dist_type"])({**self._positions, **sizes})
        _set_generators(distribution, random)
        positions: dict[str, Any] = distribution.generate()
        return positions

    def close_games(self) -> None:
        """Close the games of all environments and team sizes."""
        for games in self._of_size:
            for game in games.values():
                game.close()
        self._games, self._of_size = [], []


def _groups(
    map_name: str, unit_types: Sequence[str], weights: Sequence[float], exceptions: Sequence[str], capacity: int
) -> tuple[TypeGroup, ...]:
    """Return groups that allow all teams with at least one unit that is no exception.

    Raises:
        ValueError: if the arguments do not fit together.
    """
    if map_name not in _UNITS:
        raise ValueError(f"env.map_name must be {', '.join(_UNITS)} for SMACv2, got {map_name!r}")
    if unknown := [name for name in [*unit_types, *exceptions] if name not in _UNITS[map_name]]:
        known = ", ".join(sorted(_UNITS[map_name]))
        raise ValueError(f"SMACv2's map {map_name} has the unit types {known}, got {unknown[0]!r}")
    if len(weights) != len(unit_types) or not all(0 < weight < math.inf for weight in weights):
        raise ValueError(f"env.weights must give a positive number for each of {list(unit_types)}, got {list(weights)}")
    free = tuple(name for name in unit_types if name not in exceptions)
    if not free:
        raise ValueError(f"env.exception_unit_types must leave a type for whole teams, got all of {list(unit_types)}")
    bound = tuple(name for name in unit_types if name in exceptions)
    return (TypeGroup(free, 1, capacity), *((TypeGroup(bound, 0, capacity),) if bound else ()))


def _check_sizes(compositions: Sequence[Composition], capacity: int, enemy_delta: int) -> None:
    largest, smallest = max(c.size for c in compositions), min(c.size for c in compositions)
    if largest > capacity:
        raise ValueError(f"team_sizes must not exceed the capacity, got {largest} with capacity {capacity}; raise it")
    if smallest + enemy_delta < 1:
        raise ValueError(f"env.enemy_delta {enemy_delta} leaves no enemy for teams of {smallest}")


def _set_generators(distribution: Any, random: np.random.Generator) -> None:
    """Replace the random generators of a distribution and of the distributions in it."""
    for name, value in vars(distribution).items():
        if isinstance(value, np.random.Generator):
            setattr(distribution, name, random)
        elif hasattr(value, "generate"):
            _set_generators(value, random)
