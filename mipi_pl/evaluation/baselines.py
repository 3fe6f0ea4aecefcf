"""Scripted policies, played in the same worlds as the learned one."""

from __future__ import annotations

from collections.abc import Sequence

from mipi_pl.envs.base import EntityEnv
from mipi_pl.evaluation.generalization import MakeEnv, MakePolicy, Result, World, evaluate
from mipi_pl.evaluation.rollout import Policy


def play_baselines(
    names: Sequence[str] | None, make_env: MakeEnv, worlds: Sequence[World], episodes: int, seed: int
) -> dict[str, list[Result]]:
    """Results of each scripted policy.

    Args:
        names: of the policies; None takes all that the environment names (`EntityEnv.scripted`).
        make_env: the environment of training.
        worlds: what to play.
        episodes: of each world.
        seed: of environments and policies.

    Raises:
        ValueError: for a policy that the environment does not have.
    """
    if names is not None and not names:
        return {}
    env = make_env(num_envs=1, seed=seed)
    chosen = env.scripted if names is None else tuple(names)
    for name in chosen:
        env.scripted_policy(name)  # one that does not exist is found before any is played
    return {name: evaluate(make_env, _scripted(name), worlds, episodes, seed) for name in chosen}


def _scripted(name: str) -> MakePolicy:
    def make(env: EntityEnv, seed: int) -> Policy:
        return env.scripted_policy(name, seed)

    return make
