"""Scripted policies, played in the same worlds as the learned one."""

from __future__ import annotations

from collections.abc import Sequence

from mipi_pl.envs.base import EntityEnv
from mipi_pl.evaluation.generalization import MakeEnv, Result, World, evaluate
from mipi_pl.evaluation.rollout import Policy


def play_baselines(
    names: Sequence[str], make_env: MakeEnv, worlds: Sequence[World], episodes: int, seed: int
) -> dict[str, list[Result]]:
    """Results of each scripted policy; none in an environment that is not a battle.

    Raises:
        ValueError: for a policy that does not exist.
    """
    if not names:
        return {}
    # The compiled battle is loaded here, since a run in another world can do without it.
    from mipi_pl.envs.battle.env import BattleEnv

    if not isinstance(make_env(num_envs=1, seed=seed), BattleEnv):
        return {}
    from mipi_pl.envs.battle.scripted import make_scripted

    def results(name: str) -> list[Result]:
        def scripted(env: EntityEnv, policy_seed: int) -> Policy:
            assert isinstance(env, BattleEnv)
            return make_scripted(name, env, policy_seed)

        return evaluate(make_env, scripted, worlds, episodes, seed)

    return {name: results(name) for name in names}
