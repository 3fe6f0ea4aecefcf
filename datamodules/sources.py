"""Where steps come from; this file: environments in this process.

Each kind hands out [B, T'] steps of the same B environments in the same order, so that what is made of them does not
depend on it. The policy acts in all environments of a process in one call.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from tensordict import TensorDictBase
from torchrl.collectors import Collector

from mipi_pl.actor import Actor
from mipi_pl.envs.base import EntityEnv

MakeEnv = Callable[..., EntityEnv]


class StepSource:
    """An endless stream of steps under the newest policy it was given.

    Attributes:
        exact: whether `state_dict` holds all that the next steps depend on. Environments of other processes keep
            theirs: a resumed run begins new episodes there.
    """

    exact = False

    def next(self, epsilon: float) -> TensorDictBase:
        """The next steps [B, T'] with this share of uniform exploration; valid until the next call.

        Raises:
            WorkerError: if a process that steps environments has died.
        """
        raise NotImplementedError

    def refresh(self) -> None:
        """Act with the learner's present parameters from now on; never called while `next` runs."""

    def state_dict(self) -> dict[str, Any]:
        """What the next steps depend on, as plain tensors, as far as it is known here."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Raises:
            ValueError: if it belongs to other environments.
        """

    def close(self) -> None:
        """End what was started."""


class InlineSource(StepSource):
    """All environments in this process.

    Args:
        env: the environments.
        actor: the policy; its networks are the learner's own.
        steps: T'.
        own_copy: act with a copy of the networks that `refresh` brings up to date, so that learning and collecting may
            go on at the same time.
    """

    exact = True

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
        """Copy the learner's parameters, if they are not shared."""
        if self._learner is not None:
            self._actor.agent.load_state_dict(self._learner.state_dict())

    def next(self, epsilon: float) -> TensorDictBase:
        """See `StepSource`."""
        self._actor.epsilon = epsilon
        return next(self._stream)

    def close(self) -> None:
        """Let the environments end what they started."""
        self._env.close(raise_if_closed=False)

    def state_dict(self) -> dict[str, Any]:
        """Environments, the observation that the next step starts from, recurrent states and draws."""
        return {
            "environment": self._env.get_extra_state(),
            # TorchRL has no public name for the observation that the next step starts from.
            "observation": self._collector._carrier.clone().to_dict(),
            "actor": self._actor.memory(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `StepSource`."""
        self._env.set_extra_state(state["environment"])
        self._collector._carrier.update(state["observation"])
        self._actor.remember(state["actor"])
