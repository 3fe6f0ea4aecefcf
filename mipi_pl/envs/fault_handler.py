"""FaultHandler: plays a world, checks its frames, and throws away the episodes in which it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mipi_pl.envs import faults
from mipi_pl.envs.frame import Frame
from mipi_pl.utils.errors import WorldFaultError

if TYPE_CHECKING:
    from mipi_pl.envs.base import EntityEnv


class FaultHandler:
    """Calls `begin` and `advance` of a world of B environments. See `EntityEnv` for `checked` and `tolerant`.

    Args:
        num_envs: B.

    Attributes:
        played: int64 [B], steps of each running episode of a world that is checked.
        given_up: reason by environment that the world has given up in the call that is running.
    """

    def __init__(self, num_envs: int) -> None:
        self.played = np.zeros(num_envs, dtype=np.int64)
        self.given_up: dict[int, str] = {}
        self._messages = faults.Messages()

    def begin(self, world: EntityEnv, rows: Tensor, frame: Frame, before: Frame) -> None:
        """Begin episodes; where the world fails, try again with the next episode.

        Args:
            world: the world.
            rows: bool [B], environments whose episode begins.
            frame: copy of `before`, into which the world writes.
            before: last frame.

        Raises:
            WorldFaultError: if the world fails too often, or is not `tolerant`, or not `checked`.
        """
        if not world.checked:
            frame.clear_flags(rows)
            world.begin(rows, frame)
            self._refuse_given_up()
            return
        self.played[rows.numpy()] = 0
        for attempt in range(1, faults.ATTEMPTS + 1):
            frame.clear_flags(rows)
            failed = self._call(world, frame, before, rows)
            if not failed:
                return
            message = self._told(world, failed)
            if attempt == faults.ATTEMPTS:
                raise WorldFaultError(f"{message}; {attempt} attempts to begin an episode have failed")
            _restore_misfits(frame, before)
            rows = torch.zeros_like(rows).index_fill(0, torch.tensor(list(failed)), True)

    def advance(self, world: EntityEnv, action: Tensor, frame: Frame, before: Frame) -> Tensor:
        """Play one step and return the rewards: NaN where the world failed and the episode ends as truncated.

        Args:
            world: the world.
            action: int64 [B, A].
            frame: frame that the world writes.
            before: last frame.

        Raises:
            WorldFaultError: if the world fails and is not `tolerant`, or not `checked`.
        """
        if not world.checked:
            world.advance(action, frame)
            self._refuse_given_up()
            return frame.reward
        going = ~(before.terminated | before.truncated)
        self.played[going.numpy()] += 1
        failed = self._call(world, frame, before, going, action)
        if not failed:
            return frame.reward
        self._told(world, failed)
        rows = torch.tensor(list(failed))
        _restore_misfits(frame, before)
        for name, last in vars(before).items():  # the last observation stays
            getattr(frame, name)[rows] = last[rows]
        frame.reward[rows], frame.truncated[rows] = 0.0, True
        return frame.reward.index_fill(0, rows, float("nan"))

    def _call(
        self, world: EntityEnv, frame: Frame, before: Frame, rows: Tensor, action: Tensor | None = None
    ) -> dict[int, str]:
        """Call `begin`, or `advance` with an action, and return the reason of each environment of `rows` that fails."""
        self.given_up = {}
        try:
            if action is None:
                world.begin(rows, frame)
            else:
                world.advance(action, frame)
            begun = rows if action is None else None
            found = faults.faults_of(frame, before, len(world.compositions), begun)
            if action is not None:
                found = {**self._too_long(world.entity_spec.max_steps, frame, rows), **found}
        except faults.NOT_OF_THE_WORLD:
            raise
        except Exception as error:
            if not (world.tolerant or isinstance(error, WorldFaultError)):
                raise  # used directly, the traceback into the world is more helpful
            reason = faults.reason_of(error, f"{type(world).__name__}.{'begin' if action is None else 'advance'}")
            found = dict.fromkeys(rows.nonzero().flatten().tolist(), reason)
            if not found:
                raise
        return dict(sorted({**found, **self.given_up}.items()))

    def _told(self, world: EntityEnv, failed: dict[int, str]) -> str:
        """Print what failed, if the world is tolerant, and return it.

        Raises:
            WorldFaultError: if it is not.
        """
        message = faults.described(failed, self.played)
        if not world.tolerant:
            raise WorldFaultError(message)
        self._messages.say(message)
        return message

    def _too_long(self, limit: int, frame: Frame, going: Tensor) -> dict[int, str]:
        """Return a reason for each environment of `going` (bool [B]) whose episode goes on at the time limit."""
        late = going & torch.from_numpy(self.played >= limit) & ~(frame.terminated | frame.truncated)
        reason = f"the episode goes on after {limit} steps, max_steps of its spec; it must end there, as truncated"
        return dict.fromkeys(late.nonzero().flatten().tolist(), reason)

    def _refuse_given_up(self) -> None:
        """Check that a world that is not `checked`, of which nothing replaces an episode, has given up none.

        Raises:
            WorldFaultError: if it has.
        """
        given_up, self.given_up = self.given_up, {}
        if given_up:
            raise WorldFaultError(faults.described(dict(sorted(given_up.items()))))


def _restore_misfits(frame: Frame, before: Frame) -> None:
    """Replace each field that a world has set to something else than a tensor of its shape and type."""
    for name, last in vars(before).items():
        if not faults.fits(getattr(frame, name), last):
            setattr(frame, name, last.clone())
