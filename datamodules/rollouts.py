"""Division of a rollout of B environments into sequences: the parts of episodes that lie within it."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.datamodules.episodes import OBSERVED, PER_STEP, filled_slots, kept_slots
from mipi_pl.spec import EntitySpec


class RolloutCutter:
    """Cuts rollouts at the ends of episodes and keeps length, return and last action of the unfinished episodes.

    Args:
        num_envs: B, number of environments.
        spec: sizes of the environment.
    """

    def __init__(self, num_envs: int, spec: EntitySpec) -> None:
        self.spec = spec
        self._length = torch.zeros(num_envs, dtype=torch.int64)
        self._return = torch.zeros(num_envs)
        self._action = torch.full((num_envs, spec.n_agents), spec.n_actions)

    def state_dict(self) -> dict[str, Any]:
        """Return length, return and last action of the unfinished episodes."""
        return {"length": self._length, "return": self._return, "action": self._action}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        self._length, self._return, self._action = state["length"], state["return"], state["action"]

    def cut(self, steps: TensorDictBase) -> tuple[TensorDict, TensorDict]:
        """Return the sequences of a rollout and a summary of the episodes that ended in it.

        Args:
            steps: [B, T] steps of a collector, which continue those of the previous call.

        Returns:
            A batch [N] of sequences, ordered by environment and time, with the keys of `mipi_pl.spec`: up to S steps
            and the observation after the last one, cut to the filled entity slots. And, for each episode that ended,
            ``return_``, ``length``, ``won``, ``composition`` and ``cut_short``, as in `summarize`.

            A sequence in which the world failed (a reward is NaN) is kept in place without valid steps, so that
            nothing is learned from it, and its episode is not among those that ended.

        Raises:
            ValueError: if an episode has more than `spec.max_steps` steps.
        """
        done = steps.get(("next", keys.DONE)).squeeze(-1)
        begins = torch.nn.functional.pad(done[:, :-1], (1, 0))
        begins[:, 0] = True
        number = begins.flatten().cumsum(0).view(begins.shape) - 1
        time = torch.arange(done.shape[1])
        place = time - torch.where(begins, time, 0).cummax(dim=1).values
        environment, start = begins.nonzero(as_tuple=True)
        length = torch.bincount(number.flatten())
        end = start + length - 1

        carried = start == 0
        first_step = torch.where(carried, self._length[environment], 0)
        earlier = self._action[environment].masked_fill(~carried.unsqueeze(1), self.spec.n_actions)
        reward = steps.get(("next", keys.REWARD)).squeeze(-1)
        faulty = reward[environment, end].isnan()
        earned = torch.zeros(len(length)).index_add_(0, number.flatten(), reward.flatten())
        earned = earned + torch.where(carried, self._return[environment], 0.0)
        ended, so_far = done[environment, end], first_step + length
        if int(so_far.max()) > self.spec.max_steps:
            raise ValueError(
                f"an episode is longer than max_steps={self.spec.max_steps}; correct max_steps in the environment's "
                "spec, or let the environment truncate at that step"
            )

        batch = self._sequences(steps, number, place, (environment, end), length)
        if faulty.any():
            for key in (keys.VALID, *PER_STEP):
                batch.set(key, batch.get(key).masked_fill(faulty.unsqueeze(1), 0))
        batch.set(keys.ENVIRONMENT, environment).set(keys.FIRST_STEP, first_step)
        batch.set(keys.PREVIOUS_ACTION, earlier[:, : batch.get(keys.ACTION).shape[2]])
        counted = ended & ~faulty
        over = (environment[counted], end[counted])
        truncated, played = steps.get(("next", keys.TRUNCATED))[over].squeeze(-1), so_far[counted]
        finished = TensorDict(
            {
                "return_": earned[counted],
                "length": played,
                "won": steps.get(("next", keys.WON))[over].squeeze(-1),
                "composition": steps.get(keys.COMPOSITION)[over].squeeze(-1),
                "cut_short": self.spec.cut_short(truncated, played),
            },
            batch_size=[len(played)],
        )
        self._carry_over(environment, ended, so_far, earned, steps.get(keys.ACTION)[:, -1])
        return batch, finished

    def _carry_over(self, environment: Tensor, ended: Tensor, length: Tensor, earned: Tensor, action: Tensor) -> None:
        """Store the state of the unfinished episodes from the last sequence of each environment."""
        last = keys.last_sequences(environment)
        over = ended[last]
        self._length = torch.where(over, 0, length[last])
        self._return = torch.where(over, 0.0, earned[last])
        self._action = action.masked_fill(over.unsqueeze(1), self.spec.n_actions)

    def _sequences(
        self, steps: TensorDictBase, number: Tensor, place: Tensor, last: tuple[Tensor, Tensor], length: Tensor
    ) -> TensorDict:
        """Rearrange the steps by sequence: [N, S+1, ...].

        Args:
            steps: [B, T].
            number: int64 [B, T], index of the sequence that each step belongs to.
            place: int64 [B, T], index of each step in its sequence.
            last: environment [N] and time [N] of each sequence's last step.
            length: int64 [N], steps of each sequence.
        """
        n_agents = self.spec.n_agents
        filled = filled_slots(steps.get(keys.PRESENT).flatten(0, 1), n_agents)
        shape = (len(length), int(length.max()) + 1)
        after = (torch.arange(len(length)), length)
        fields: dict[Any, Tensor] = {}
        for key in (*OBSERVED, keys.ACTION):
            values = kept_slots(key, steps.get(key), n_agents, filled)
            sequences = values.new_zeros(*shape, *values.shape[2:])
            sequences[number, place] = values
            if key != keys.ACTION:
                nested = key if isinstance(key, tuple) else (key,)
                final = steps.get(("next", *nested))[last].unsqueeze(1)
                sequences[after] = kept_slots(key, final, n_agents, filled).squeeze(1)
            fields[key] = sequences
        for key in PER_STEP:
            values = steps.get(("next", key)).squeeze(-1)
            fields[key] = values.new_zeros(shape).index_put((number, place), values)
        fields[keys.VALID] = torch.arange(shape[1]) < length.unsqueeze(1)
        return TensorDict(fields, batch_size=shape[:1])
