"""Step-by-step recordings of episodes for display: scenes, actions, visibility and network outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.picture import draw, title_of
from mipi_pl.envs.scene import Scene, View, aligned, view_of
from mipi_pl.evaluation.inspection import Insight, InspectedPolicy
from mipi_pl.evaluation.rollout import Episodes, Policy, play


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


def record(env: EntityEnv, policy: Policy, name: str, episodes: int | None = None) -> list[Recording]:
    """Play and record the first episode of each environment, then the second of each, and so on.

    Args:
        env: B environments, which are reset first. The first episode of an environment does not depend on B.
        policy: policy that acts. Network outputs are recorded only for an `InspectedPolicy`.
        name: name of the policy.
        episodes: number of episodes; None for one in each environment.

    Returns:
        A recording for each episode.

    Raises:
        NotImplementedError: if this world cannot be drawn.
    """
    b = env.num_envs
    episodes = b if episodes is None else episodes
    camera = _Camera(env, policy, episodes_per_env=-(-episodes // b))
    played = play(env, camera.act, camera.episodes_per_env, camera.record_step)
    return [camera.recording(name, played, number) for number in range(episodes)]


@dataclass
class _Film:
    """Scenes and rewards of an episode while it is played; `start` is the number of its first step."""

    start: int
    scenes: list[Scene]
    rewards: list[float] = field(default_factory=list)
    over: bool = False


class _Camera:
    """Films the episodes of B environments while `play` plays them.

    Args:
        env: the environments.
        policy: policy that acts.
        episodes_per_env: number of episodes of each environment to film.
    """

    def __init__(self, env: EntityEnv, policy: Policy, episodes_per_env: int) -> None:
        self.episodes_per_env = episodes_per_env
        self._env, self._policy = env, policy
        self._films: list[list[_Film]] = [[] for _ in range(env.num_envs)]
        self._steps: list[TensorDictBase] = []

    def act(self, td: TensorDictBase) -> TensorDictBase:
        """Let the policy act, after the first scene of each episode that begins."""
        for row, films in enumerate(self._films):
            if len(films) < self.episodes_per_env and (not films or films[-1].over):
                films.append(_Film(len(self._steps), [self._env.scene(row)]))
        return self._policy(td)

    def record_step(self, step: TensorDictBase) -> None:
        """Film the scene after a step."""
        self._steps.append(step.select(*_KEPT.values()).cpu())
        for row, (*_, film) in enumerate(self._films):
            if not film.over:
                film.scenes.append(self._env.scene(row))
                film.rewards.append(float(step["next", keys.REWARD][row]))
                film.over = bool(step["next", keys.DONE][row])

    def recording(self, name: str, played: Episodes, number: int) -> Recording:
        """Return the recording of an episode of `played` under the policy of this name."""
        env, row = self._env, number % self._env.num_envs
        film = self._films[row][number // env.num_envs]
        start, length = film.start, int(played.length[number])
        steps, policy = self._steps[start : start + length], self._policy
        return Recording(
            policy=name,
            composition=env.compositions[int(played.composition[number])].label,
            action_names=env.entity_spec.action_names,
            scenes=aligned(film.scenes),
            rewards=film.rewards,
            won=bool(played.won[number]) if env.winnable else None,
            insight=policy.insight(row, start, length) if isinstance(policy, InspectedPolicy) else None,
            **{kept: torch.stack([step[key][row] for step in steps]) for kept, key in _KEPT.items()},
        )


_KEPT = {"action": keys.ACTION, "available": keys.ACTION_MASK, "visible": keys.VISIBLE}
