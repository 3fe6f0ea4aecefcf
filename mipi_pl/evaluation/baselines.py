"""Evaluation of scripted policies in the same worlds as the learned policy."""

from __future__ import annotations

from collections.abc import Sequence

from mipi_pl.envs.base import EntityEnv
from mipi_pl.evaluation.generalization import Result, evaluate
from mipi_pl.evaluation.rollout import Policy
from mipi_pl.evaluation.worlds import MakePolicy, Worlds


def play_baselines(names: Sequence[str] | None, worlds: Worlds) -> dict[str, list[Result]]:
    """Evaluate scripted policies.

    Args:
        names: names of the policies; None selects all of the environment (`EntityEnv.scripted`).
        worlds: worlds to play.

    Returns:
        Results by policy.

    Raises:
        WorldError: if a world cannot be created.
        ValueError: if the environment does not have one of the policies.
    """
    if names is not None and not names:
        return {}
    with worlds.single(worlds.worlds[0]) as env:
        chosen = env.scripted if names is None else tuple(names)
        for name in chosen:
            env.scripted_policy(name)  # raises for an unknown name before any policy is played
    return {name: evaluate(_scripted(name), worlds) for name in chosen}


def _scripted(name: str) -> MakePolicy:
    def make(env: EntityEnv, seed: int) -> Policy:
        return env.scripted_policy(name, seed)

    return make
