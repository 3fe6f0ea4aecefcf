"""Playing of complete episodes, for all evaluations and recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.envs.base import EntityEnv

Policy = Callable[[TensorDictBase], TensorDictBase]
"""Writes ``("agents", "action")`` [B, A] for an observation; resets the state of rows where ``is_init`` is True."""


@dataclass(frozen=True)
class Episodes:
    """Outcomes of n complete episodes: the first episode of each environment, then the second of each, and so on.

    Attributes:
        return_: float64 [n], undiscounted sum of rewards.
        won: bool [n], whether the episode was won.
        length: int64 [n], number of steps.
        composition: int64 [n], index into the environment's compositions.
        cut_short: bool [n], whether a fault of the world ended the episode.
    """

    return_: Tensor
    won: Tensor
    length: Tensor
    composition: Tensor
    cut_short: Tensor

    def __len__(self) -> int:
        return len(self.won)

    def first(self, n: int) -> Episodes:
        """Return the first `n` episodes, which is unbiased because the order does not depend on their lengths."""
        return self.where(slice(n))

    def where(self, rows: Tensor | slice) -> Episodes:
        """Select episodes by index, mask or slice."""
        return Episodes(**{name: values[rows] for name, values in vars(self).items()})


Watcher = Callable[[TensorDictBase], None]
"""Receives each step with its outcome under ``next``, before finished environments are reset."""


@torch.no_grad()
def play(env: EntityEnv, policy: Policy, episodes_per_env: int = 1, after_step: Watcher | None = None) -> Episodes:
    """Play exactly `episodes_per_env` episodes in each environment, so that short episodes are not over-represented.

    Environments that finish early continue, without being counted, until the last one has finished.

    Args:
        env: B environments, which are reset first.
        policy: policy that acts.
        episodes_per_env: episodes per environment.
        after_step: called after each step, if given.

    Returns:
        B * episodes_per_env episodes.

    Raises:
        ValueError: if `episodes_per_env` is not positive.

    Examples:
        >>> from mipi_pl.envs.matrix import MatrixGame
        >>> game = MatrixGame({"AB": [[1.0, 0.0], [0.0, 0.0]]}, ["AB"], num_envs=3)
        >>> len(play(game, game.rand_action, episodes_per_env=2))
        6
    """
    if episodes_per_env < 1:
        raise ValueError(f"episodes_per_env must be at least 1, got {episodes_per_env}")
    b, k = env.num_envs, episodes_per_env
    rows = torch.arange(b)
    return_, length = torch.zeros(k, b, dtype=torch.float64), torch.zeros(k, b, dtype=torch.int64)
    won, composition = torch.zeros(k, b, dtype=torch.bool), torch.zeros(k, b, dtype=torch.int64)
    truncated, episode = torch.zeros(k, b, dtype=torch.bool), torch.zeros(b, dtype=torch.int64)
    faulty = torch.zeros(k, b, dtype=torch.bool)
    td = env.reset()
    while (counts := episode < k).any():
        td = policy(td)
        # Keeps only summary numbers; observations are not stored.
        step = env.step(td)
        reward = step.get(("next", keys.REWARD))
        failed = reward.isnan()  # the step that the world could not play, see `EntityEnv.tolerant`
        step.set(("next", keys.REWARD), reward.masked_fill(failed, 0.0))
        if after_step is not None:
            after_step(step)
        td = env.maybe_reset(env.step_mdp(step))
        after = step.get("next")
        row, now = rows[counts], episode[counts]
        faulty[now, row] |= failed.flatten().cpu()[counts]
        return_[now, row] += after.get(keys.REWARD).flatten().cpu()[counts].double()
        length[now, row] += 1
        done = after.get(keys.DONE).flatten().cpu() & counts
        row, now = rows[done], episode[done]
        won[now, row] = after.get(keys.WON).flatten().cpu()[done]
        truncated[now, row] = after.get(keys.TRUNCATED).flatten().cpu()[done]
        composition[now, row] = after.get(keys.COMPOSITION).flatten().cpu()[done]
        episode += done
    cut_short = env.entity_spec.cut_short(truncated, length) | faulty
    return Episodes(*(values.flatten() for values in (return_, won, length, composition, cut_short)))
