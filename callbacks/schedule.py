"""Schedule for callbacks that act after every fixed number of environment steps."""

from __future__ import annotations


class EveryFrames:
    """Due once for every multiple of `frames` that the count of environment steps reaches or passes.

    Args:
        frames: environment steps between two due counts.

    Attributes:
        next: the next count at which it is due.

    Examples:
        >>> schedule = EveryFrames(100)
        >>> [schedule.due(collected) for collected in (96, 104, 112, 350, 352, 400)]
        [False, True, False, True, False, True]
    """

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.next = frames

    def due(self, collected: int) -> bool:
        """Return whether it is due at this count; if so, it is not due again before the next multiple."""
        if collected < self.next:
            return False
        self.next = (collected // self.frames + 1) * self.frames
        return True
