"""Small on-policy algorithms for the random batches of `worlds`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from worlds import SGD

from mipi_pl import spec as keys
from mipi_pl.algorithms.mappo import MAPPO
from mipi_pl.algorithms.mipi_ppo import MIPIPPO
from mipi_pl.models.agent import EntityAgent
from mipi_pl.models.critics import EntityCritic
from mipi_pl.models.marginal import MarginalPolicy
from mipi_pl.spec import EntitySpec

LEARNED = ("agent.trunk", "agent.policy_logits", "critic", "marginal")
"""What MAPPO and MIPI-PPO train; the agent's critic head is not."""


def small_mappo(
    spec: EntitySpec,
    *,
    width: int = 8,
    heads: int = 2,
    hidden: int = 4,
    optimizer: Any = SGD,
    seed: int = 0,
    recurrent: bool = False,
    regularizer: str | None = None,
    network: dict[str, Any] | None = None,
    **options: Any,
) -> MAPPO:
    """MAPPO with tiny networks, or MIPI-PPO with this regularizer.

    `network` are options of the agent, of which the marginal policy of MIPI-PPO has ``normalize``.
    """
    network = network or {}
    normalize = network.get("normalize", False)
    torch.manual_seed(seed)
    make: Callable[..., MAPPO] = MAPPO
    if regularizer is not None:
        marginal = partial(MarginalPolicy, width=width, hidden=hidden, normalize=normalize)
        make = partial(MIPIPPO, marginal=marginal, marginal_optimizer=optimizer, regularizer=regularizer)
    return make(
        spec,
        agent=partial(EntityAgent, width=width, heads=heads, hidden=hidden, **network),
        critic=partial(EntityCritic, width=width, heads=heads, hidden=hidden, recurrent=recurrent),
        policy_optimizer=optimizer,
        critic_optimizer=optimizer,
        **{
            "epochs": 2,
            "minibatches": 1,
            "value_decay": 0.9,
            **options,
        },
    )


ENTITY: dict[str, Any] = {"own_path": True, "normalize": True, "pair_units": 3}
"""Options of the agents that network=entity chooses."""


def as_rollout(batch: TensorDict) -> TensorDict:
    """A copy of `batch`, in which every environment has played one whole episode."""
    played_by = {keys.ENVIRONMENT: torch.arange(len(batch)), keys.FIRST_STEP: torch.zeros(len(batch)).long()}
    return batch.clone().update(played_by)


def rollouts_of(batch: TensorDict, steps: int, count: int) -> list[TensorDict]:
    """Rollouts of environments of which number n plays episode n of `batch` over and over.

    Args:
        batch: of `worlds.random_batch`.
        steps: of each environment in a rollout.
        count: rollouts.
    """
    lengths, at = batch[keys.VALID].sum(dim=1).tolist(), [0] * len(batch)
    found = []
    for _ in range(count):
        sequences = []
        for n, length in enumerate(lengths):
            left = steps
            while left:
                taken = min(left, length - at[n])
                sequences.append(_sequence(batch, n, at[n], taken, steps))
                left, at[n] = left - taken, (at[n] + taken) % length
        found.append(torch.stack(sequences))
    return found


def _sequence(batch: TensorDict, n: int, first: int, taken: int, steps: int) -> TensorDict:
    """Steps `first` to `first` + `taken` of episode n, and the observation after them."""

    def padded(rows: Tensor) -> Tensor:
        kept = rows[first : first + taken + 1]
        return torch.cat((kept, kept.new_zeros(steps + 1 - len(kept), *kept.shape[1:])))

    per_step = (keys.ENTITIES, keys.PRESENT, keys.VISIBLE, keys.ACTION_MASK, keys.ACTION)
    per_step += (keys.REWARD, keys.TERMINATED, keys.TRUNCATED)  # type: ignore[assignment]
    found = TensorDict({key: padded(batch[key][n]) for key in per_step})
    found[keys.VALID] = torch.arange(steps + 1) < taken
    found[keys.ENVIRONMENT], found[keys.FIRST_STEP] = torch.tensor(n), torch.tensor(first)
    nothing = torch.full_like(batch[keys.ACTION][n, 0], batch[keys.ACTION_MASK].shape[-1])
    found[keys.PREVIOUS_ACTION] = batch[keys.ACTION][n, first - 1] if first else nothing
    found[keys.GROUPS] = batch[keys.GROUPS][n]
    return found
