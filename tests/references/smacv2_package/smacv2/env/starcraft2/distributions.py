"""Start positions. The generators have no seed, as in the package."""

from __future__ import annotations

from typing import Any

import numpy as np


class Uniform:
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
