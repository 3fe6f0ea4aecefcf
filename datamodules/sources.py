"""Sources of environment steps: their interface, and the source that steps environments in this process.

Every source returns steps [B, T'] of the same B environments in the same order, so batches do not depend on the kind of
source. The policy acts in all environments of a process in one call.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from tensordict import TensorDictBase
from torchrl.collectors import Collector

from mipi_pl.actor import Actor
from mipi_pl.envs.base import EntityEnv
from mipi_pl.utils.compat import observation_of


class StepSource:
    """An endless stream of steps, played with the policy of the latest `refresh`."""

    def next(self, epsilon: float) -> TensorDictBase:
        """Return the next steps [B, T'], valid until the next call.

        Args:
            epsilon: probability of uniform exploration.

        Raises:
            WorkerError: if a process that steps environments has died.
        """
        raise NotImplementedError

    def refresh(self) -> None:
        """Act with the learner's current parameters from now on; must not be called while `next` runs."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state that the next steps depend on, as plain tensors, as far as this process knows it."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`.

        Raises:
            ValueError: if the state belongs to other environments.
        """

    def close(self) -> None:
        """Close the environments and end the workers."""


class InlineSource(StepSource):
    """Steps all environments in this process.

    Args:
        env: the environments.
        actor: the policy; it shares its networks with the learner.
        steps: T', steps per environment in each call of `next`.
        own_copy: act with a copy of the networks, updated by `refresh`, so that learning and collection can run at the
            same time.
    """

    def __init__(self, env: EntityEnv, actor: Actor, steps: int, own_copy: bool = False) -> None:
        self._learner = actor.agent if own_copy else None
        if own_copy:
            actor.agent = copy.deepcopy(actor.agent)
        self._env, self._actor = env, actor
        self._collector = Collector(
            env,
            actor,
            frames_per_batch=env.num_envs * steps,
            total_frames=-1,
            return_same_td=True,
            compact_obs=False,
            track_traj_ids=False,
            trust_policy=True,
        )
        self._stream: Iterator[TensorDictBase] = iter(self._collector)

    def refresh(self) -> None:
        """Copy the learner's parameters unless they are shared."""
        if self._learner is not None:
            self._actor.agent.load_state_dict(self._learner.state_dict())

    def next(self, epsilon: float) -> TensorDictBase:
        """See `StepSource`."""
        self._actor.epsilon = epsilon
        return next(self._stream)

    def close(self) -> None:
        """Close the environments."""
        self._env.close(raise_if_closed=False)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of environments and policy, and the observation from which the next step starts."""
        return {
            "environment": self._env.get_extra_state(),
            "observation": observation_of(self._collector).clone().to_dict(),
            "actor": self._actor.memory(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `StepSource`."""
        self._env.set_extra_state(state["environment"])
        observation_of(self._collector).update(state["observation"])
        self._actor.remember(state["actor"])
