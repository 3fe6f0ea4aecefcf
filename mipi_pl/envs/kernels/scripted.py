"""Base of the scripted policies of the compiled worlds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from tensordict import TensorDictBase

from mipi_pl import spec as keys
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.kernels.records import Records, record_type

_GENERATOR = record_type("random:u")
_STREAM = 1
"""Tells the draws of a policy from those of an environment with the same seed. With 0, they would be the same."""


class ScriptedPolicy:
    """Policy that chooses actions from the state of the world instead of the observation.

    It writes ``("agents", "action")`` for the current state of the episodes of `env`.

    Args:
        env: environment whose episodes are played.
        seed: seed of the random generators, one per episode.
        choose: kernel that takes the generators [B] and an int64 [B, A] array, and fills the array with available
            actions.
    """

    def __init__(self, env: EntityEnv, seed: int, choose: Callable[[Records, np.ndarray], object]) -> None:
        self._shape, self._choose = (env.num_envs, env.entity_spec.n_agents), choose
        self._generators = np.zeros(env.num_envs, dtype=_GENERATOR)
        sequence = np.random.SeedSequence([seed, _STREAM])
        self._generators["random"] = sequence.generate_state(env.num_envs, dtype=np.uint64)

    def __call__(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the actions into `tensordict`."""
        action = np.empty(self._shape, dtype=np.int64)
        self._choose(self._generators, action)
        return tensordict.set(keys.ACTION, torch.from_numpy(action).to(tensordict.device or "cpu"))
