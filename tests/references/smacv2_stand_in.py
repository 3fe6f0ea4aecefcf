"""A stand-in for the package `smacv2`: its interface, with a battle of a few lines instead of the game.

An attack takes half of a unit's health, and every enemy attacks the first living agent. Agents are sorted by type and
position, as in the package. A medivac targets agents, all others target enemies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TYPES = {
    "10gen_terran": ("marine", "marauder", "medivac"),
    "10gen_protoss": ("stalker", "zealot", "colossus"),
    "10gen_zerg": ("zergling", "hydralisk", "baneling"),
}
MADE: list[StarCraft2Env] = []
"""All environments, for tests."""


class CannotResetException(Exception):  # noqa: N818  # the package's name
    """Units have not appeared."""


@dataclass
class Unit:
    kind: str
    x: float
    y: float
    health: float = 1.0


class StarCraft2Env:
    def __init__(
        self,
        map_name: str = "8m",
        difficulty: str = "7",
        seed: int | None = None,
        continuing_episode: bool = False,
        use_unit_ranges: bool = False,
        capability_config: dict[str, Any] | None = None,
    ) -> None:
        assert capability_config is not None
        self.map_name, self.difficulty, self._seed = map_name, difficulty, seed
        self.continuing_episode, self.use_unit_ranges = continuing_episode, use_unit_ranges
        self.capability_config = capability_config
        self.n_agents, self.n_enemies = capability_config["n_units"], capability_config["n_enemies"]
        self.map_params, self.episode_limit = {"map_name": "32x32_flat"}, 200
        more_targets = map_name == "10gen_terran" and self.n_agents > self.n_enemies
        self.n_actions = 6 + (self.n_agents if more_targets else self.n_enemies)
        self.types = TYPES[map_name]
        shield = ["shield"] if map_name == "10gen_protoss" else []
        self.ally_state_attr_names = ["health", "energy/cooldown", "rel_x", "rel_y", *shield]
        self.capability_attr_names = [f"type_{k}" for k in range(3)]
        self.enemy_state_attr_names = ["health", "rel_x", "rel_y", *shield, *self.capability_attr_names]
        self.agents: list[Unit] = []
        self.enemies: list[Unit] = []
        self.refusals, self.dies, self.closed = 0, False, False
        self.played: list[list[int]] = []
        MADE.append(self)

    def seed(self) -> int | None:
        return self._seed

    def reset(self, episode_config: dict[str, Any]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise CannotResetException("units have not appeared")
        self.episode_config, self.steps = episode_config, 0
        team = episode_config["team_gen"]
        places = [episode_config[f"{side}_start_positions"]["item"] for side in ("ally", "enemy")]
        agents = [Unit(kind, *place) for kind, place in zip(team["ally_team"], places[0], strict=True)]
        self.agents = sorted(agents, key=lambda unit: (unit.kind, unit.x, unit.y))
        self.enemies = [Unit(kind, *place) for kind, place in zip(team["enemy_team"], places[1], strict=True)]

    def targets_of(self, agent: int) -> list[Unit]:
        return self.agents if self.agents[agent].kind == "medivac" else self.enemies

    def get_avail_actions(self) -> list[list[int]]:
        masks = np.zeros((self.n_agents, self.n_actions), dtype=int)
        for k, unit in enumerate(self.agents):
            masks[k, 0], masks[k, 1:6] = unit.health <= 0, unit.health > 0
            for t, target in enumerate(self.targets_of(k)):
                flies = unit.kind == target.kind == "medivac"  # one does not heal another
                masks[k, 6 + t] = unit.health > 0 and target.health > 0 and not flies
        return [list(mask) for mask in masks]

    def get_visibility_matrix(self) -> np.ndarray:
        seen = np.array([unit.health > 0 for unit in [*self.agents, *self.enemies]])
        matrix: np.ndarray = seen[: self.n_agents, None] & seen[None]
        matrix[range(self.n_agents), range(self.n_agents)] = False  # as in the package
        return matrix

    def get_state_dict(self) -> dict[str, np.ndarray]:
        def row(unit: Unit, names: list[str]) -> list[float]:
            known = {"health": unit.health, "rel_x": unit.x / 32 - 0.5, "rel_y": unit.y / 32 - 0.5, "shield": 0.0}
            known |= {"energy/cooldown": 0.0, **{f"type_{k}": float(self.types[k] == unit.kind) for k in range(3)}}
            return [known[name] if unit.health > 0 else 0.0 for name in names]

        names = self.ally_state_attr_names + self.capability_attr_names
        return {
            "allies": np.array([row(unit, names) for unit in self.agents]),
            "enemies": np.array([row(unit, self.enemy_state_attr_names) for unit in self.enemies]),
        }

    def step(self, actions: list[int]) -> tuple[float, bool, dict[str, Any]]:
        if self.dies:
            self.dies = False
            return 0, True, {}
        self.played.append(actions)
        masks, reward = self.get_avail_actions(), 0.0
        for k, action in enumerate(actions):
            assert masks[k][action], (k, action)
            if action >= 6:
                change = 0.5 if self.agents[k].kind == "medivac" else -0.5
                target = self.targets_of(k)[action - 6]
                target.health = min(max(target.health + change, 0.0), 1.0)
                reward += max(-change, 0.0)
        for _ in [unit for unit in self.enemies if unit.health > 0]:
            living = [unit for unit in self.agents if unit.health > 0]
            if living:
                living[0].health = max(living[0].health - 0.1, 0.0)
        self.steps += 1
        won = not any(unit.health > 0 for unit in self.enemies)
        over = won or not any(unit.health > 0 for unit in self.agents)
        limit = not over and self.steps >= self.episode_limit
        info = {"battle_won": won, **({"episode_limit": True} if limit and self.continuing_episode else {})}
        return reward + 10 * won, over or limit, info

    def close(self) -> None:
        self.closed = True


class StarCraftCapabilityEnvWrapper:
    """Makes an environment. Whatever the wrapper lacks, its environment has."""

    def __init__(self, capability_config: dict[str, Any], **options: Any) -> None:
        assert set(capability_config) == {"n_units", "n_enemies", "team_gen", "start_positions"}
        assert capability_config["team_gen"]["dist_type"] == "weighted_teams"
        self.env = StarCraft2Env(capability_config=capability_config, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)


class Uniform:
    """Positions. The generator has no seed, as in the package."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config, self.rng = config, np.random.default_rng()

    def generate(self) -> dict[str, Any]:
        upper = (self.config["map_x"] / 2 - 1, self.config["map_y"])
        return {"item": self.rng.uniform((0, 0), upper, size=(self.config["n_units"], 2)), "id": 0}


class Reflect:
    def __init__(self, config: dict[str, Any]) -> None:
        assert config["env_key"] == "start_positions"
        self.config, self.pos_generator = config, Uniform(config)

    def generate(self) -> dict[str, Any]:
        allies = self.pos_generator.generate()
        enemies = np.resize(allies["item"], (self.config["n_enemies"], 2))
        enemies[:, 0] = self.config["map_x"] - enemies[:, 0]
        return {"ally_start_positions": allies, "enemy_start_positions": {"item": enemies, "id": 0}}


def get_distribution(key: str) -> type[Reflect]:
    return {"reflect_position": Reflect, "surrounded_and_reflect": Reflect}[key]


FILES = {
    "smacv2/__init__.py": "",
    "smacv2/env/__init__.py": "from smacv2_stand_in import StarCraftCapabilityEnvWrapper",
    "smacv2/env/starcraft2/__init__.py": "",
    "smacv2/env/starcraft2/distributions.py": "from smacv2_stand_in import get_distribution",
    "smacv2/env/starcraft2/starcraft2.py": "from smacv2_stand_in import CannotResetException, StarCraft2Env",
}


def install(folder: Path) -> Path:
    """Write the package into a folder, for the path of modules."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
