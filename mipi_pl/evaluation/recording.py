"""Step-by-step recordings of episodes for display: scenes, actions, visibility and network outputs."""

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
from mipi_pl.envs.scene import Scene, View, aligned, view_of
from mipi_pl.evaluation.inspection import Insight, InspectedPolicy
from mipi_pl.evaluation.rollout import Policy, play


@dataclass(frozen=True)
class Recording:
    """One episode of T steps under one policy.

    Attributes:
        policy: name of the policy.
        composition: label of the composition that played.
        action_names: names of the U actions, or empty.
        scenes: T + 1 scenes, the last one after the last step.
        rewards: T rewards.
        won: whether the episode was won; None in worlds without winning.
        action: int64 [T, A], action of each agent.
        available: bool [T, A, U], whether the agent could take the action.
        visible: bool [T, A, E], whether the agent saw the entity.
        insight: network outputs; None for a policy without networks.
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
        """Draw each scene.

        Args:
            view: part of the ground to draw; None selects the part in use.
            size: width of a picture in pixels, see `mipi_pl.envs.picture.draw`.

        Yields:
            Pictures, uint8 [height, width, 3].
        """
        view = common_view([self]) if view is None else view
        for step, scene in enumerate(self.scenes):
            yield draw(scene, title_of(scene, step, self.policy), view, size)


def common_view(recordings: Sequence[Recording]) -> View:
    """Return the part of the ground that contains all scenes of the recordings."""
    return view_of(scene for recording in recordings for scene in recording.scenes)


def record(env: EntityEnv, policy: Policy, name: str) -> list[Recording]:
    """Play and record one episode in each environment.

    Args:
        env: B environments, which are reset first. The episode of an environment does not depend on B.
        policy: policy that acts. Network outputs are recorded only for an `InspectedPolicy`.
        name: name of the policy.

    Returns:
        B recordings.

    Raises:
        NotImplementedError: if this world cannot be drawn.
    """
    scenes: list[list[Scene]] = [[] for _ in range(env.num_envs)]
    rewards: list[list[float]] = [[] for _ in range(env.num_envs)]
    running = list(range(env.num_envs))
    steps: list[TensorDictBase] = []

    def act(td: TensorDictBase) -> TensorDictBase:
        if not steps:
            for row in running:
                scenes[row].append(env.scene(row))
        return policy(td)

    def record_step(step: TensorDictBase) -> None:
        steps.append(step.select(keys.ACTION, keys.ACTION_MASK, keys.VISIBLE).cpu())
        for row in running.copy():
            scenes[row].append(env.scene(row))
            rewards[row].append(float(step["next", keys.REWARD][row]))
            if step["next", keys.DONE][row]:
                running.remove(row)

    played = play(env, act, after_step=record_step)
    recordings = []
    for row in range(env.num_envs):
        length = int(played.length[row])
        tensors = {key: torch.stack([step[key][row] for step in steps[:length]]) for key in _KEPT.values()}
        recordings.append(
            Recording(
                policy=name,
                composition=env.compositions[int(played.composition[row])].label,
                action_names=env.entity_spec.action_names,
                scenes=aligned(scenes[row]),
                rewards=rewards[row],
                won=bool(played.won[row]) if env.winnable else None,
                insight=policy.insight(row, length) if isinstance(policy, InspectedPolicy) else None,
                **{field: tensors[key] for field, key in _KEPT.items()},
            )
        )
    return recordings


_KEPT = {"action": keys.ACTION, "available": keys.ACTION_MASK, "visible": keys.VISIBLE}
