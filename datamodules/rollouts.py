"""Division of a rollout of B environments into sequences: the parts of episodes that lie within it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.datamodules.episodes import OBSERVED, PER_STEP, summary_of
from mipi_pl.datamodules.trimming import filled_slots, kept_slots
from mipi_pl.spec import EntitySpec


@dataclass
class Sequences:
    """Places of the N sequences of a rollout of T steps, ordered by environment and time.

    Attributes:
        of_step: int64 [B, T], the sequence that each step belongs to.
        place: int64 [B, T], index of each step in its sequence.
        environment: int64 [N], environment of each sequence.
        start: int64 [N], time of its first step; 0 if it may continue an episode of the previous rollout.
        length: int64 [N], number of its steps.
    """

    of_step: Tensor
    place: Tensor
    environment: Tensor
    start: Tensor
    length: Tensor

    @classmethod
    def between_ends(cls, done: Tensor) -> Sequences:
        """Divide a rollout after the steps that end an episode, `done` [B, T]."""
        begins = torch.nn.functional.pad(done[:, :-1], (1, 0))
        begins[:, 0] = True
        of_step = begins.flatten().cumsum(0).view(begins.shape) - 1
        time = torch.arange(done.shape[1])
        place = time - torch.where(begins, time, 0).cummax(dim=1).values
        environment, start = begins.nonzero(as_tuple=True)
        return cls(of_step, place, environment, start, torch.bincount(of_step.flatten()))

    @property
    def last(self) -> tuple[Tensor, Tensor]:
        """Environment [N] and time [N] of the last step of each sequence."""
        return self.environment, self.start + self.length - 1


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
        done, reward = (steps.get(("next", key)).squeeze(-1) for key in (keys.DONE, keys.REWARD))
        sequences = Sequences.between_ends(done)
        first_step, return_ = self._progress(sequences, reward)
        length = first_step + sequences.length
        self.spec.check_length(int(length.max()))
        ended, faulty = done[sequences.last], reward[sequences.last].isnan()
        batch = self._batch(steps, sequences, first_step, faulty)
        finished = self._summary(steps, sequences, ended & ~faulty, length, return_)
        self._carry_over(sequences.environment, ended, length, return_, steps.get(keys.ACTION)[:, -1])
        return batch, finished

    def _progress(self, sequences: Sequences, reward: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far the episode of each sequence has come, with the parts of it in earlier rollouts.

        Args:
            sequences: the sequences.
            reward: [B, T].

        Returns:
            Index [N], in the episode, of the sequence's first step; and return [N] of the episode after its last step.
        """
        carried, environment = sequences.start == 0, sequences.environment
        earned = torch.zeros(len(environment)).index_add_(0, sequences.of_step.flatten(), reward.flatten())
        return_ = earned + torch.where(carried, self._return[environment], 0.0)
        return torch.where(carried, self._length[environment], 0), return_

    def _batch(self, steps: TensorDictBase, sequences: Sequences, first_step: Tensor, faulty: Tensor) -> TensorDict:
        """Return the training batch [N]; sequences that are `faulty` [N] have no valid step."""
        batch = self._by_sequence(steps, sequences)
        if faulty.any():
            for key in (keys.VALID, *PER_STEP):
                batch.set(key, batch.get(key).masked_fill(faulty.unsqueeze(1), 0))
        fresh = sequences.start > 0
        earlier = self._action[sequences.environment].masked_fill(fresh.unsqueeze(1), self.spec.n_actions)
        batch.set(keys.ENVIRONMENT, sequences.environment).set(keys.FIRST_STEP, first_step)
        return batch.set(keys.PREVIOUS_ACTION, earlier[:, : batch.get(keys.ACTION).shape[2]])

    def _summary(
        self, steps: TensorDictBase, sequences: Sequences, counted: Tensor, length: Tensor, return_: Tensor
    ) -> TensorDict:
        """Return the summary of the episodes that ended with the sequences where `counted` [N] is True."""
        environment, time = sequences.last
        over = environment[counted], time[counted]
        return summary_of(
            self.spec,
            return_=return_[counted],
            length=length[counted],
            won=steps.get(("next", keys.WON))[over].squeeze(-1),
            composition=steps.get(keys.COMPOSITION)[over].squeeze(-1),
            truncated=steps.get(("next", keys.TRUNCATED))[over].squeeze(-1),
        )

    def _carry_over(self, environment: Tensor, ended: Tensor, length: Tensor, earned: Tensor, action: Tensor) -> None:
        """Store the state of the unfinished episodes from the last sequence of each environment."""
        last = keys.last_sequences(environment)
        over = ended[last]
        self._length = torch.where(over, 0, length[last])
        self._return = torch.where(over, 0.0, earned[last])
        self._action = action.masked_fill(over.unsqueeze(1), self.spec.n_actions)

    def _by_sequence(self, steps: TensorDictBase, sequences: Sequences) -> TensorDict:
        """Rearrange the steps [B, T] by sequence: [N, S+1, ...], cut to the slots that any observation fills."""
        n_agents, place, length = self.spec.n_agents, (sequences.of_step, sequences.place), sequences.length
        final_present = steps.get(("next", keys.PRESENT))[sequences.last]
        filled = filled_slots(torch.cat((steps.get(keys.PRESENT).flatten(0, 1), final_present)), n_agents)
        shape = (len(length), int(length.max()) + 1)
        after = (torch.arange(len(length)), length)
        fields: dict[Any, Tensor] = {}
        for key in (*OBSERVED, keys.ACTION):
            values = kept_slots(key, steps.get(key), n_agents, filled)
            fields[key] = values.new_zeros(*shape, *values.shape[2:])
            fields[key][place] = values
            if key != keys.ACTION:
                final = steps.get(("next", key))[sequences.last].unsqueeze(1)
                fields[key][after] = kept_slots(key, final, n_agents, filled).squeeze(1)
        for key in PER_STEP:
            values = steps.get(("next", key)).squeeze(-1)
            fields[key] = values.new_zeros(shape).index_put(place, values)
        fields[keys.VALID] = torch.arange(shape[1]) < length.unsqueeze(1)
        return TensorDict(fields, batch_size=shape[:1])
