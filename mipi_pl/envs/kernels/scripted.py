"""What the scripted policies of the compiled worlds share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from tensordict import TensorDictBase

from mipi_pl import spec as keys
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.kernels.records import Records, record_type

_GENERATOR = record_type("random:u")


class ScriptedPolicy:
    """Writes ``("agents", "action")`` for the episodes as they stand now; the observation is not looked at.

    Args:
        env: whose episodes are played.
        seed: of the draws, one generator per episode.
        choose: a kernel that is given the generators [B] and fills int64 [B, A] actions, all of them available.
    """

    def __init__(self, env: EntityEnv, seed: int, choose: Callable[[Records, np.ndarray], object]) -> None:
        self._shape, self._choose = (env.num_envs, env.entity_spec.n_agents), choose
        self._generators = np.zeros(env.num_envs, dtype=_GENERATOR)
        self._generators["random"] = np.random.SeedSequence(seed).generate_state(env.num_envs, dtype=np.uint64)

    def __call__(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Adds the actions."""
        action = np.empty(self._shape, dtype=np.int64)
        self._choose(self._generators, action)
        return tensordict.set(keys.ACTION, torch.from_numpy(action).to(tensordict.device or "cpu"))
