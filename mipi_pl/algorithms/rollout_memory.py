"""Storage of recurrent states from one rollout to the next."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torch.nn.functional import pad

from mipi_pl import distributed
from mipi_pl import spec as keys

States = dict[str, Tensor]
"""Recurrent states by name of the network, each [N, A, hidden] for the N sequences of a batch."""


class RolloutMemory:
    """Recurrent states of each network in all environments after the last rollout.

    The networks process a rollout with the parameters that played it, before they learn from it. Their final states are
    the initial states of the next rollout. In an episode that spans several rollouts, the states therefore depend on
    older parameters, as in other recurrent PPO implementations.

    Args:
        n_agents: A, the capacity; a batch may have fewer agent slots.

    Attributes:
        states: [B, A, hidden] for each network; empty before the first rollout.
    """

    def __init__(self, n_agents: int) -> None:
        self.n_agents = n_agents
        self.states: States = {}

    def before(self, batch: TensorDictBase) -> States:
        """Return the initial states of the sequences of a rollout: zeros at the start of an episode.

        Empty for the first rollout.
        """
        environment, n_agents = batch.get(keys.ENVIRONMENT), batch.get(keys.ACTION).shape[2]
        begins = (batch.get(keys.FIRST_STEP) == 0).view(-1, 1, 1)
        return {
            name: states.to(environment.device)[environment, :n_agents].masked_fill(begins, 0.0)
            for name, states in self.states.items()
        }

    def keep(self, batch: TensorDictBase, last: States) -> None:
        """Store the states after the last sequence of each environment.

        Args:
            batch: the rollout; its sequences are ordered by environment and time.
            last: states [N, A', hidden] after every sequence, for each network.
        """
        final = keys.last_sequences(batch.get(keys.ENVIRONMENT))
        begun = batch.get(keys.FIRST_STEP)[final] == 0
        self.states = {name: self._of_all_slots(name, states[final].detach(), begun) for name, states in last.items()}

    def _of_all_slots(self, name: str, states: Tensor, begun: Tensor) -> Tensor:
        """Return states [B, A, hidden] of all slots from those of the first A' slots.

        The other slots were empty throughout. They keep their states, unless an episode has `begun` [B] in the rollout.
        """
        n_agents = states.shape[1]
        if name not in self.states:
            return pad(states, (0, 0, 0, self.n_agents - n_agents))
        others = self.states[name][:, n_agents:].to(states.device)
        return torch.cat((states, others.masked_fill(begun.view(-1, 1, 1), 0.0)), dim=1)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all processes, on the CPU because each process has its own device."""
        return distributed.join_states({name: states.cpu() for name, states in self.states.items()})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the states of this process."""
        self.states = distributed.own_state(state_dict)
