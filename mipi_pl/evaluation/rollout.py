"""The one way to play whole episodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.envs.base import EntityEnv

Policy = Callable[[TensorDictBase], TensorDictBase]
"""Writes ``("agents", "action")`` [B, A] for the observation it is given; resets itself where ``is_init`` is True."""


@dataclass(frozen=True)
class Episodes:
    """Whole episodes in the order (first of each environment, second of each, ...), all of shape [n].

    Attributes:
        return_: float64, undiscounted sum of rewards.
        won: bool.
        length: int64, steps.
        composition: int64, index into the environment's compositions.
        cut_short: bool, ended by a fault of the world.
    """

    return_: Tensor
    won: Tensor
    length: Tensor
    composition: Tensor
    cut_short: Tensor

    def __len__(self) -> int:
        return len(self.won)

    def first(self, n: int) -> Episodes:
        """The first `n`; unbiased, since the order says nothing about how long an episode was."""
        return self.where(slice(n))

    def where(self, rows: Tensor | slice) -> Episodes:
        """Some of them."""
        return Episodes(**{name: values[rows] for name, values in vars(self).items()})


Watcher = Callable[[TensorDictBase], None]
"""Given each step, its outcome under ``next``, while the environments stand as it left them: before any is reset."""


@torch.no_grad()
def play(env: EntityEnv, policy: Policy, episodes_per_env: int = 1, after_step: Watcher | None = None) -> Episodes:
    """Every environment plays exactly `episodes_per_env` episodes, so that short ones are not counted more often.

    Environments that are done first go on idly until the last one is.

    Args:
        env: B environments; they are reset first.
        policy: what acts.
        episodes_per_env: episodes of each environment.
        after_step: who looks on.

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
    td = env.reset()
    while (counts := episode < k).any():
        td = policy(td)
        # Nothing is gathered but these numbers: the next observation goes straight on into the next step.
        step = env.step(td)
        if after_step is not None:
            after_step(step)
        td = env.maybe_reset(env.step_mdp(step))
        after = step.get("next")
        row, now = rows[counts], episode[counts]
        return_[now, row] += after.get(keys.REWARD).flatten().cpu()[counts].double()
        length[now, row] += 1
        done = after.get(keys.DONE).flatten().cpu() & counts
        row, now = rows[done], episode[done]
        won[now, row] = after.get(keys.WON).flatten().cpu()[done]
        truncated[now, row] = after.get(keys.TRUNCATED).flatten().cpu()[done]
        composition[now, row] = after.get(keys.COMPOSITION).flatten().cpu()[done]
        episode += done
    cut_short = env.entity_spec.cut_short(truncated, length)
    return Episodes(*(of_all.flatten() for of_all in (return_, won, length, composition, cut_short)))
