"""Does a policy win more in large teams if its agents see no more entities than in training?

    python benchmarks/dropped_entities.py sz [--most 5] [--sizes 8 12 16 27] [--episodes 128]

Plays policies greedily in battles, in three ways: the agents see everything in sight; in each step, each agent sees at
most `--most` allies, itself included, and as many enemies, drawn at random; the same, and it cannot attack an enemy
that was not drawn. FlickerFusion drops entities in training too, which is not done here. A policy is a checkpoint or
the name of one that comes with the program; the table has the mean over the policies.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from of_runs import read_or_exit, spread
from tensordict import TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.envs.base import EntityEnv
from mipi_pl.evaluation.generalization import evaluate, greedy_policies
from mipi_pl.evaluation.rollout import Policy
from mipi_pl.evaluation.worlds import MakePolicy, Worlds
from mipi_pl.run.loaded_run import LoadedRun, check_worlds, open_checkpoint
from mipi_pl.storage.shipped import located
from mipi_pl.utils.errors import UserError

WAYS = ("all in sight", "dropped", "dropped, not attackable")


def kept(visible: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Draw the entities that the agents keep in sight.

    Args:
        visible: bool [B, A, E], entities in sight; the first A are the allies.
        most: largest number of allies, with the agent itself, and of other entities.
        generator: source of the draws.

    Returns:
        bool [B, A, E], the entities that are kept. An agent that sees itself keeps itself.
    """
    n_agents, n_entities = visible.shape[1:]
    order = torch.rand(visible.shape, generator=generator) + torch.eye(n_agents, n_entities)
    order = order.masked_fill(~visible, -1.0)
    keep = torch.zeros_like(visible)
    for side in (slice(n_agents), slice(n_agents, n_entities)):
        chosen = order[..., side].topk(min(most, keep[..., side].shape[-1]), dim=-1).indices
        keep[..., side] = torch.zeros_like(visible[..., side]).scatter(-1, chosen, value=True)
    return keep & visible


def dropping(make_policy: MakePolicy, most: int, attackable: bool) -> MakePolicy:
    """Returns a factory of policies that see at most so many allies and others in each step."""

    def make(env: EntityEnv, seed: int) -> Policy:
        policy, generator = make_policy(env, seed), torch.Generator().manual_seed(seed)
        spec = env.entity_spec
        n_fixed = spec.n_actions - (spec.n_entities - spec.n_agents)  # an attack per other entity comes last

        def act(td: TensorDictBase) -> TensorDictBase:
            keep = kept(td.get(keys.VISIBLE), most, generator)
            seen = td.clone(recurse=False).set(keys.VISIBLE, keep)
            if not attackable:
                available = td.get(keys.ACTION_MASK).clone()
                available[..., n_fixed:] &= keep[..., spec.n_agents :]
                seen.set(keys.ACTION_MASK, available)
            return td.set(keys.ACTION, policy(seen).get(keys.ACTION))

        return act

    return make


def opened(paths: Sequence[Path], words: Sequence[str]) -> list[LoadedRun]:
    """Returns the policies to play.

    Raises:
        UserError: if a policy cannot be used, or its actions are not fixed ones and attacks on the enemies.
    """
    runs = [open_checkpoint(located(path), words) for path in paths]
    for path, loaded in zip(paths, runs, strict=True):
        check_worlds(loaded)
        if (targets := loaded.algorithm.spec.targets) != ("others",):
            raise UserError(
                f"{path}: expected a policy whose only targets are enemies (('others',)), got {targets!r}: name one of "
                "sz or csz, trained with env.target_actions=slots"
            )
    return runs


def win_rates(loaded: LoadedRun, most: int) -> Iterable[list[float]]:
    """Yields the win rates by team size, for each of `WAYS`."""
    plan, policies = loaded.plan, greedy_policies(loaded.algorithm)
    with Worlds(loaded.make_env, plan.worlds, plan.held_out["episodes"], plan.held_out["seed"]) as worlds:
        for make_policy in (
            policies,
            dropping(policies, most, attackable=True),
            dropping(policies, most, attackable=False),
        ):
            yield [result.total.headline.value for result in evaluate(make_policy, worlds)]


def main() -> None:
    """Print a row per way and a column per team size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "policies", type=Path, nargs="+", help="checkpoints or names of shipped policies, of battles without healers"
    )
    parser.add_argument("--most", type=int, default=5, help="allies, and others, that an agent sees (default: 5)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 12, 16, 27], help="team sizes")
    parser.add_argument("--episodes", type=int, default=128, help="battles per team size (default: 128)")
    chosen = parser.parse_args()
    words = [f"env.capacity={max(chosen.sizes)}", f"env.team_sizes=[{','.join(map(str, chosen.sizes))}]"]
    words += [f"held_out.episodes={chosen.episodes}", "threads=1"]
    runs = read_or_exit(parser, lambda paths: opened(paths, words), chosen.policies)
    rates = [list(win_rates(loaded, chosen.most)) for loaded in runs]
    print(f"| agents see | {' | '.join(map(str, chosen.sizes))} |\n" + "|---" * (1 + len(chosen.sizes)) + "|")
    for way, of_policies in zip(WAYS, zip(*rates, strict=True), strict=True):
        print(f"| {way} | {' | '.join(spread(column) for column in zip(*of_policies, strict=True))} |")


if __name__ == "__main__":
    main()
