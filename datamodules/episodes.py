"""Assembly of whole, padded episodes from a stream of environment steps."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.spec import EntitySpec

OBSERVED = (keys.ENTITIES, keys.PRESENT, keys.VISIBLE, keys.ACTION_MASK)
"""Keys of an observation."""
PER_STEP = (keys.REWARD, keys.TERMINATED, keys.TRUNCATED)
"""Keys of the result of a step."""


def empty_episodes(count: int, spec: EntitySpec) -> TensorDict:
    """Return zeroed storage [count, T+1, ...] for episodes of up to T steps and the observation after the last one."""
    rows, a, e = (count, spec.max_steps + 1), spec.n_agents, spec.n_entities

    def flags(*sizes: int) -> Tensor:
        return torch.zeros(sizes, dtype=torch.bool)

    return TensorDict(
        {
            keys.ENTITIES: torch.zeros(*rows, e, spec.n_features),
            keys.PRESENT: flags(*rows, e),
            "agents": {
                "visible": flags(*rows, a, e),
                "action_mask": flags(*rows, a, spec.n_actions),
                "action": torch.zeros(*rows, a, dtype=torch.int64),
            },
            keys.REWARD: torch.zeros(*rows),
            keys.TERMINATED: flags(*rows),
            keys.TRUNCATED: flags(*rows),
            keys.VALID: flags(*rows),
            keys.WON: flags(count),
            keys.COMPOSITION: torch.zeros(count, dtype=torch.int64),
        },
        batch_size=[count],
    )


class EpisodeAssembler:
    """Collects the steps of B environments and returns each episode once it has ended.

    Args:
        num_envs: B, number of environments.
        spec: sizes of the environment.
    """

    def __init__(self, num_envs: int, spec: EntitySpec) -> None:
        self.spec = spec
        self._open = empty_episodes(num_envs, spec)
        self._length = torch.zeros(num_envs, dtype=torch.int64)
        self._rows = torch.arange(num_envs)

    def state_dict(self) -> dict[str, Any]:
        """Return the unfinished episodes as plain tensors."""
        return {"open": self._open.to_dict(), "length": self._length.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        self._open = TensorDict(state["open"], batch_size=self._open.batch_size)
        self._length = state["length"].clone()

    def add(self, steps: TensorDictBase) -> TensorDict | None:
        """Add a collector's batch [B, T'] and return the episodes that ended in it, or None.

        The episodes are ordered by the time of their last step, and those that end at the same time by environment.

        All steps are written in one vectorized operation: each goes into the open episode of its environment or, after
        an episode end within the batch, into a new one.

        Raises:
            ValueError: if an episode has more than `spec.max_steps` steps.
        """
        done = steps.get(("next", keys.DONE)).squeeze(-1)
        ended_before = torch.nn.functional.pad(done[:, :-1], (1, 0))
        piece, time = ended_before.cumsum(dim=1), torch.arange(done.shape[1])
        begin = torch.where(ended_before, time, 0).cummax(dim=1).values
        place = time - begin + torch.where(piece == 0, self._length.unsqueeze(1), 0)
        self.spec.check_length(int(place.max()) + 1)
        self._length = torch.where(done[:, -1], 0, place[:, -1] + 1)
        if not done.any():
            self._write(self._open, (self._rows.unsqueeze(1), place), steps, ...)
            return None
        return self._split(steps, done, piece, place)

    def _split(self, steps: TensorDictBase, done: Tensor, piece: Tensor, place: Tensor) -> TensorDict:
        """Write a batch of steps in which episodes end: the j-th end, by time, begins new episode j.

        Args:
            steps: [B, T'].
            done: bool [B, T'], whether an episode ends with the step.
            piece: int64 [B, T'], number of episodes of the row that ended in this batch before the step.
            place: int64 [B, T'], index of the step in its episode.
        """
        time, row = done.T.nonzero(as_tuple=True)
        fresh = empty_episodes(len(row), self.spec)
        begun_by = torch.zeros(len(done), int(piece.max()) + 2, dtype=torch.int64)
        begun_by[row, piece[row, time] + 1] = torch.arange(len(row))
        first, later = (which.nonzero(as_tuple=True) for which in (piece == 0, piece > 0))
        self._write(self._open, (first[0], place[first]), steps, first)
        self._write(fresh, (begun_by[later[0], piece[later]], place[later]), steps, later)

        ended = self._open[row]
        again = piece[row, time] > 0
        if again.any():
            ended[again] = fresh[begun_by[row, piece[row, time]][again]]
        at = (torch.arange(len(row)), place[row, time] + 1)
        for key in OBSERVED:
            ended.get(key)[at] = steps.get(("next", key))[row, time]
        ended.set(keys.WON, steps.get(("next", keys.WON))[row, time].squeeze(-1))
        ended.set(keys.COMPOSITION, steps.get(keys.COMPOSITION)[row, time].squeeze(-1))
        rows = done.any(dim=1).nonzero().squeeze(-1)
        self._open[rows] = fresh[begun_by[rows, done.sum(dim=1)[rows]]]
        return ended

    @staticmethod
    def _write(into: TensorDict, at: tuple[Tensor, Tensor], steps: TensorDictBase, which: Any) -> None:
        for key in (*OBSERVED, keys.ACTION):
            into.get(key)[at] = steps.get(key)[which]
        for key in PER_STEP:
            into.get(key)[at] = steps.get(("next", key)).squeeze(-1)[which]
        into.get(keys.VALID)[at] = True


def without_faults(episodes: TensorDict, faults: int) -> TensorDict | None:
    """Return the episodes [N] without those that the world failed in, or None if no episode is left.

    Args:
        episodes: finished episodes; the reward of a step that the world could not play is NaN.
        faults: number of such steps; 0 returns `episodes` itself.
    """
    if not faults:
        return episodes
    whole = episodes[~episodes.get(keys.REWARD).isnan().any(dim=1)]
    return whole if len(whole) else None


def number_of_faults(steps: TensorDictBase) -> int:
    """Return the number of steps [B, T'] that the world could not play; each ends an episode, see `EntityEnv`."""
    return int(steps.get(("next", keys.REWARD)).isnan().sum())


def summarize(episodes: TensorDictBase, spec: EntitySpec) -> TensorDict:
    """Return a summary of whole episodes [N], see `summary_of`."""
    return summary_of(
        spec,
        return_=episodes.get(keys.REWARD).sum(dim=1),
        length=episodes.get(keys.VALID).sum(dim=1),
        won=episodes.get(keys.WON).clone(),
        composition=episodes.get(keys.COMPOSITION).clone(),
        truncated=episodes.get(keys.TRUNCATED).any(dim=1),
    )


def summary_of(
    spec: EntitySpec, return_: Tensor, length: Tensor, won: Tensor, composition: Tensor, truncated: Tensor
) -> TensorDict:
    """Return the summary [N] of finished episodes that a datamodule counts and callbacks log.

    Its keys are ``return_`` (undiscounted), ``length`` in steps, ``won``, ``composition``, and ``cut_short`` (whether
    an environment fault ended the episode).
    """
    cut_short = spec.cut_short(truncated, length)
    entries = {"return_": return_, "length": length, "won": won, "composition": composition, "cut_short": cut_short}
    return TensorDict(entries, batch_size=length.shape)
