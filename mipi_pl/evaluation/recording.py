"""Episodes that are kept step by step, to be shown: scenes, actions, what the agents saw and went by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.picture import draw, title_of
from mipi_pl.envs.scene import Scene, View, view_of
from mipi_pl.evaluation.inspection import Insight, InspectedPolicy
from mipi_pl.evaluation.rollout import Policy, play


@dataclass(frozen=True)
class Recording:
    """One episode of T steps under one policy.

    Attributes:
        policy: its name.
        composition: what was played.
        action_names: of the U actions of this world, or empty.
        scenes: T + 1, the last after the last step.
        rewards: T.
        won: None where nothing is won.
        action: int64 [T, A].
        available: bool [T, A, U].
        visible: bool [T, A, E].
        insight: what the networks said; None for a policy without.
    """

    policy: str
    composition: str
    action_names: tuple[str, ...]
    scenes: list[Scene]
    rewards: list[float]
    won: bool | None
    action: Tensor
    available: Tensor
    visible: Tensor
    insight: Insight | None

    def pictures(self, view: View | None = None, size: int = 480) -> Iterator[np.ndarray]:
        """One of each scene, uint8 [height, width, 3]; `view` None shows where it happens."""
        view = common_view([self]) if view is None else view
        for step, scene in enumerate(self.scenes):
            yield draw(scene, title_of(scene, step, self.policy), view, size)


def common_view(recordings: Sequence[Recording]) -> View:
    """The part of the ground on which all of them happen."""
    return view_of(scene for recording in recordings for scene in recording.scenes)


def record(env: EntityEnv, policy: Policy, name: str) -> list[Recording]:
    """Play one episode in each environment and keep it.

    Args:
        env: B environments; they are reset first. Each plays the same episode, whatever B is.
        policy: what acts; an `InspectedPolicy` is asked for its thoughts.
        name: of the policy.

    Raises:
        NotImplementedError: if this world cannot be drawn.
    """
    scenes: list[list[Scene]] = [[] for _ in range(env.num_envs)]
    rewards: list[list[float]] = [[] for _ in range(env.num_envs)]
    going_on = list(range(env.num_envs))
    steps: list[TensorDictBase] = []

    def act(td: TensorDictBase) -> TensorDictBase:
        if not steps:
            for row in going_on:
                scenes[row].append(env.scene(row))
        return policy(td)

    def look(step: TensorDictBase) -> None:
        steps.append(step.select(keys.ACTION, keys.ACTION_MASK, keys.VISIBLE).cpu())
        for row in going_on.copy():
            scenes[row].append(env.scene(row))
            rewards[row].append(float(step["next", keys.REWARD][row]))
            if step["next", keys.DONE][row]:
                going_on.remove(row)

    played = play(env, act, after_step=look)
    recordings = []
    for row in range(env.num_envs):
        length = int(played.length[row])
        of = {key: torch.stack([step[key][row] for step in steps[:length]]) for key in _KEPT.values()}
        recordings.append(
            Recording(
                policy=name,
                composition=env.compositions[int(played.composition[row])].label,
                action_names=env.entity_spec.action_names,
                scenes=scenes[row],
                rewards=rewards[row],
                won=bool(played.won[row]) if env.winnable else None,
                insight=policy.insight(row, length) if isinstance(policy, InspectedPolicy) else None,
                **{field: of[key] for field, key in _KEPT.items()},
            )
        )
    return recordings


_KEPT = {"action": keys.ACTION, "available": keys.ACTION_MASK, "visible": keys.VISIBLE}
