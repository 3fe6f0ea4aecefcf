"""Training batches for the comparison of learners. Every side reads the same file.

A file holds N whole episodes in the format of our replay ([N, T+1] with the keys of `mipi_pl.spec`, padded to the time
limit T) as plain tensors. The sizes of the world follow from the shapes. Each side trims and packs the episodes as it
does in training.
"""

from __future__ import annotations

from pathlib import Path

import torch
from learner_updates import full_episodes
from tensordict import TensorDict
from worlds import random_batch

from mipi_pl import spec as keys
from mipi_pl.datamodules.episodes import EpisodeAssembler
from mipi_pl.datamodules.trimming import trim
from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.run.build import factory
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve
from mipi_pl.spec import EntitySpec

EPISODES = 32
KINDS = ("full", "battles")
POLICIES = BattleEnv.scripted


def full(steps: int, episodes: int = EPISODES) -> TensorDict:
    """Returns synthetic episodes: every agent acts up to the time limit and sees more than half of the others."""
    sizes = full_episodes(steps, episodes)
    padded = random_batch(sizes, partitions=0, dtype=torch.float32)
    return trim(padded, sizes.n_agents)


def battles(steps: int, policy: str, episodes: int = EPISODES) -> TensorDict:
    """Play the first battle in each of N environments: Stalkers and Zealots, 8 against 8.

    Args:
        steps: time limit.
        policy: scripted policy of the agents, one of `POLICIES`.
        episodes: N.

    Returns:
        The N episodes, in the order in which they ended.
    """
    config = resolve(compose(["env=sz", "network=refil", "env.team_sizes=[8]", f"env.episode_limit={steps}"]))
    env = factory("env", config["env"])(num_envs=episodes, seed=0)
    played = env.rollout(steps, env.scripted_policy(policy), break_when_any_done=False)
    done = played.get(("next", keys.DONE)).squeeze(-1)
    step, row = done.T.nonzero(as_tuple=True)  # the order in which the assembler returns episodes
    ended = EpisodeAssembler(episodes, env.entity_spec).add(played)
    assert ended is not None  # the time limit ends every episode
    return ended[(done.cumsum(dim=1) == 1)[row, step]]


def spec_of(batch: TensorDict) -> EntitySpec:
    """Returns the sizes of the world that a batch comes from."""
    n_agents, n_actions = batch.get(keys.ACTION_MASK).shape[2:]
    rows, n_entities, n_features = batch.get(keys.ENTITIES).shape[1:]
    return EntitySpec(n_agents, n_entities, n_features, n_actions, max_steps=rows - 1)


def describe(batch: TensorDict) -> dict[str, float]:
    """Summarize a batch.

    Returns:
        Mean ``length`` of the episodes and length of the ``longest``, in steps. ``acting_share`` is the share of the
        (step, agent) pairs, up to the longest episode, in which the agent acts (it is alive and the step was played).
    """
    valid, visible = batch.get(keys.VALID), batch.get(keys.VISIBLE)
    n_agents, lengths = visible.shape[2], valid.sum(dim=1)
    acting = keys.acting(visible) & valid.unsqueeze(-1)
    longest = int(lengths.max())
    return {
        "length": round(float(lengths.float().mean()), 1),
        "longest": longest,
        "acting_share": round(float(acting.sum()) / (len(batch) * longest * n_agents), 3),
    }


def save(batch: TensorDict, path: Path) -> None:
    """Write a batch to a file."""
    torch.save(batch.to_dict(), path)


def load(path: Path) -> TensorDict:
    """Read the batch [N] of a file."""
    return TensorDict(torch.load(path, weights_only=True)).auto_batch_size_(1)
