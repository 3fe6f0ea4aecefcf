"""Recurrent states that are carried from one rollout to the next."""

from __future__ import annotations

from typing import Any

from tensordict import TensorDictBase
from torch import Tensor
from torch.nn.functional import pad

from mipi_pl import distributed
from mipi_pl import spec as keys

States = dict[str, Tensor]
"""Recurrent states of some networks by name, each [N, A, H] for the N sequences of a batch."""


class RolloutMemory:
    """For each recurrent network, its states in all environments after the last rollout.

    Networks go through a rollout before they learn from it, with the parameters that played it. The next rollout begins
    with the states in which they end. An episode that goes on through several rollouts has states of older parameters
    in its memory, as in other recurrent PPO.

    Args:
        n_agents: A, the capacity; a batch may be trimmed to fewer.

    Attributes:
        states: [B, A, H] for each network; empty before the first rollout.
    """

    def __init__(self, n_agents: int) -> None:
        self.n_agents = n_agents
        self.states: States = {}

    def before(self, batch: TensorDictBase) -> States:
        """The states with which the sequences of a rollout begin: zeros at the beginning of an episode.

        There are none for the first rollout.
        """
        environment, n_agents = batch.get(keys.ENVIRONMENT), batch.get(keys.ACTION).shape[2]
        begins = (batch.get(keys.FIRST_STEP) == 0).view(-1, 1, 1)
        return {
            name: states.to(environment.device)[environment, :n_agents].masked_fill(begins, 0.0)
            for name, states in self.states.items()
        }

    def keep(self, batch: TensorDictBase, last: States) -> None:
        """Remember the states after the last sequence of each environment.

        Args:
            batch: the rollout; its sequences stand by environment and time.
            last: after every sequence [N, A', H], for each network.
        """
        final = keys.last_sequences(batch.get(keys.ENVIRONMENT))
        self.states = {
            name: pad(states[final].detach(), (0, 0, 0, self.n_agents - states.shape[1]))
            for name, states in last.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """The states of all processes, on the processor: each process has a device of its own."""
        return distributed.join_states({name: states.cpu() for name, states in self.states.items()})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the states of this process."""
        self.states = distributed.own_state(state_dict)
