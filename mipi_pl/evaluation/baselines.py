"""Evaluation of scripted policies in the same worlds as the learned policy."""

from __future__ import annotations

from collections.abc import Sequence

from mipi_pl.envs.base import EntityEnv
from mipi_pl.evaluation.generalization import Result, evaluate
from mipi_pl.evaluation.rollout import Policy
from mipi_pl.evaluation.worlds import MakePolicy, Worlds


def chosen_baselines(names: Sequence[str] | None, worlds: Worlds) -> tuple[str, ...]:
    """Return the names of the scripted policies to play.

    Args:
        names: names of the policies; None selects all of the environment (`EntityEnv.scripted`).
        worlds: worlds to play.

    Raises:
        WorldError: if the first world cannot be created.
        ValueError: if it does not have one of the policies.
    """
    if names is not None and not names:
        return ()
    with worlds.single(worlds.worlds[0]) as env:
        for name in names or ():
            env.require_scripted(name)
        return env.scripted if names is None else tuple(names)


def play_baselines(names: Sequence[str], worlds: Worlds) -> dict[str, list[Result]]:
    """Evaluate scripted policies, and return the results by policy.

    Args:
        names: names of the policies, see `chosen_baselines`.
        worlds: worlds to play.

    Raises:
        WorldError: if a world cannot be created.
    """
    return {name: evaluate(_scripted(name), worlds) for name in names}


def _scripted(name: str) -> MakePolicy:
    def make(env: EntityEnv, seed: int) -> Policy:
        return env.scripted_policy(name, seed)

    return make
