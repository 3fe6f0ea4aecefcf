"""Curriculum over team sizes: which sizes the training episodes have, by the frames collected so far."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from mipi_pl.envs.base import EntityEnv

_KEYS = {"frames", "team_sizes"}


class Curriculum:
    """A schedule of team sizes for the episodes that begin in training.

    The stage depends only on the frames, so a resumed run continues in the right one. Evaluations are not affected:
    they play all training teams throughout.

    Args:
        stages: mappings with ``frames``, from which the stage applies, and ``team_sizes``. The first stage begins at
            frame 0, and together the stages have all team sizes of the environment.
        env: training environments, which draw by this schedule.

    Raises:
        ValueError: if the stages are not in order or their team sizes are not those of the environment, or the
            environment cannot follow a schedule.
    """

    def __init__(self, stages: Sequence[Mapping[str, Any]], env: EntityEnv) -> None:
        for stage in stages:
            if not isinstance(stage, Mapping) or set(stage) != _KEYS:
                raise ValueError(
                    "each stage of datamodule.curriculum is {frames: N, team_sizes: [...]}, got "
                    f"{dict(stage) if isinstance(stage, Mapping) else stage!r}"
                )
        self._starts = [stage["frames"] for stage in stages]
        sizes = [stage["team_sizes"] for stage in stages]
        if not all(type(start) is int for start in self._starts) or not all(_are_sizes(some) for some in sizes):
            raise ValueError(
                "datamodule.curriculum has whole numbers as frames and lists of them as team_sizes, got "
                + ", ".join(f"{{frames: {a!r}, team_sizes: {b!r}}}" for a, b in zip(self._starts, sizes, strict=True))
            )
        self._sizes = [sorted(set(some)) for some in sizes]
        if not stages or self._starts[0] != 0 or self._starts != sorted(set(self._starts)):
            raise ValueError(
                f"the stages of datamodule.curriculum begin at frame 0 and are in ascending order, got {self._starts}"
            )
        trained = {composition.size for composition in env.compositions}
        named = {size for some in self._sizes for size in some}
        if named != trained:
            raise ValueError(
                f"the stages of datamodule.curriculum must have the team sizes of training, {sorted(trained)} "
                f"(env.team_sizes), each in one stage at least; got {sorted(named)}"
            )
        self._env = env
        self._stage = -1
        try:
            self.begin(0)
        except NotImplementedError as error:
            raise ValueError(f"datamodule.curriculum: {error}") from error

    def begin(self, frames: int) -> None:
        """Let the environments draw the team sizes of the stage after so many frames."""
        stage = self._stage_at(frames)
        if stage != self._stage:
            self._env.draw_only(self._sizes[stage])
            self._stage = stage

    def largest_team(self, frames: int) -> int:
        """Return the largest team size of the stage after so many frames."""
        return self._sizes[self._stage_at(frames)][-1]

    def _stage_at(self, frames: int) -> int:
        return bisect_right(self._starts, frames) - 1


def _are_sizes(sizes: Any) -> bool:
    return (
        isinstance(sizes, Sequence)
        and not isinstance(sizes, str)
        and bool(sizes)
        and all(type(size) is int for size in sizes)
    )
