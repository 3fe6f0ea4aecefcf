"""Adapter from SMAClite to the environment interface of REFIL's runner, with entities and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import smaclite  # type: ignore[import-not-found]  # noqa: F401  # registers the maps
from smaclite.env import SMACliteEnv  # type: ignore[import-not-found]
from smaclite.env.maps.map import MapPreset  # type: ignore[import-not-found]

SIGHT_RANGE = 9.0


class SMACliteEntities:
    """The map 3s5z: 3 Stalkers and 5 Zealots on each side.

    Features of an entity: slot, available actions from the third on (agents), health, weapon cooldown (agents),
    shield, position relative to the centre divided by the size of the map, type; zeros up to `n_features`.

    Args:
        n_features: number of features of an entity.
        episode_limit: time limit of an episode, in steps.
    """

    def __init__(self, n_features: int, episode_limit: int) -> None:
        self.map = MapPreset.MAP_3S5Z.map_info
        self.env = SMACliteEnv(map_info=self.map)
        # REFIL does not read SMAClite's flat observations, so skip computing them in each step.
        self.env.get_obs = tuple
        self.n_agents, self.n_actions = self.env.n_agents, self.env.n_actions
        self.n_entities = self.n_agents + self.env.n_enemies
        self.n_features, self.episode_limit = n_features, episode_limit
        self.steps = 0

    def reset(self, **_: Any) -> None:
        """Begin a battle; REFIL's scenario arguments are ignored."""
        self.env.reset()
        self.steps = 0
        self._look()

    def step(self, actions: Sequence[int]) -> tuple[float, bool, dict[str, bool]]:
        """Play a step; returns the reward, whether the episode ended, and whether the time limit ended it."""
        _, reward, done, _, info = self.env.step([int(action) for action in actions])
        self.steps += 1
        self._look()
        at_limit = not done and self.steps >= self.episode_limit
        return reward, done or at_limit, {**info, "episode_limit": at_limit}

    def _look(self) -> None:
        """Read the living units by slot, and the available actions."""
        enemies = {self.n_agents + slot: unit for slot, unit in self.env.enemies.items()}
        self._units = {**self.env.agents, **enemies}
        self._available = np.array(self.env.get_avail_actions(), dtype=np.int32)

    def get_avail_actions(self) -> Any:
        """Returns the available actions [agents, actions]."""
        return self._available

    def get_entities(self) -> Any:
        """Returns the features [entities, n_features]."""
        entities = np.zeros((self.n_entities, self.n_features), dtype=np.float32)
        first_of_unit = self.n_agents + self.n_actions - 2
        for slot, unit in self._units.items():
            row = entities[slot]
            row[slot % self.n_agents] = 1.0
            own = slot < self.n_agents
            if own:
                row[self.n_agents : first_of_unit] = self._available[slot, 2:]
            position = unit.pos / (self.map.width, self.map.height) - 0.5
            cooldown = unit.cooldown / unit.max_cooldown if own else 0.0
            row[first_of_unit : first_of_unit + 5] = (
                unit.hp / unit.max_hp,
                cooldown,
                unit.shield / unit.max_shield,
                *position,
            )
            row[first_of_unit + 5 + self.map.unit_type_ids[unit.type]] = 1.0
        return entities

    def get_masks(self) -> tuple[Any, Any]:
        """Returns the hidden [entities, entities] and the absent entities [entities], as bytes; dead are not absent."""
        hidden = np.ones((self.n_entities, self.n_entities), dtype=np.uint8)
        slots = np.array(list(self._units), dtype=int)
        positions = np.array([unit.pos for unit in self._units.values()]).reshape(-1, 2)
        apart = np.square(positions[:, None] - positions[None]).sum(axis=-1)
        hidden[np.ix_(slots, slots)] = apart > SIGHT_RANGE**2
        return hidden, np.zeros(self.n_entities, dtype=np.uint8)

    def get_env_info(self, _: Any) -> dict[str, int]:
        """Returns the sizes that the runner reads."""
        return {"episode_limit": self.episode_limit, "n_agents": self.n_agents, "n_actions": self.n_actions}

    def get_stats(self) -> dict[str, float]:
        """Returns no statistics; the runner requires the method."""
        return {}

    def close(self) -> None:
        """Close the environment."""
        self.env.close()
