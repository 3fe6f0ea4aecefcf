"""Videos of greedy episodes during training."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer

from mipi_pl.algorithms.base import EntityAlgorithm, algorithm_of
from mipi_pl.callbacks.schedule import EveryFrames
from mipi_pl.datamodule import datamodule_of
from mipi_pl.envs.base import MakeEnv
from mipi_pl.evaluation.recording import record
from mipi_pl.evaluation.video import write_gif
from mipi_pl.evaluation.worlds import World, seed_of, worlds_of
from mipi_pl.logging.hooks import call_hook
from mipi_pl.roles import callbacks_of, having
from mipi_pl.storage.files import unused
from mipi_pl.utils.checks import require
from mipi_pl.utils.modules import evaluating

MAX_PICTURES = 100
"""Largest number of pictures of a video: 20 s."""


class EpisodeVideo(Callback):
    """Plays a greedy episode of each team size every `every_frames` environment steps and saves it as a GIF.

    The files are ``videos/<frames>_<teams>.gif`` in the run folder; existing files are never overwritten. Loggers with
    a method ``log_video(path, step)`` receive the path. A video has at most `MAX_PICTURES` pictures; of a longer
    episode it shows every second step, or every third, and so on. The environments and random numbers of training are
    not affected.

    Args:
        make_env: factory of the training environment.
        every_frames: environment steps between two videos; ``evaluation`` records at each evaluation, None never.
        team_sizes: team sizes to record, one video each; None records one video of the training teams.
        seed: seed of the environments, so that all videos start from the same state.

    Attributes:
        at_evaluations: whether videos are recorded at evaluations.
        lost_files: videos that could not be written.

    Raises:
        ValueError: if a count is not positive, `team_sizes` is empty, the environment refuses a team size, or it
            cannot draw pictures.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        every_frames: int | Literal["evaluation"] | None,
        team_sizes: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.make_env, self.seed = make_env, seed
        self.worlds = worlds_of((), {})[:1] if team_sizes is None else worlds_of(team_sizes, {})[1:]
        self.lost_files: list[str] = []
        self._schedule: EveryFrames | None = None
        self._filmed_at: int | None = None
        self.at_evaluations = every_frames == "evaluation"
        if isinstance(every_frames, int):
            require("callbacks.video.every_frames", every_frames, 1)
            self._schedule = EveryFrames(every_frames)
        if every_frames is not None:
            if not self.worlds:
                raise ValueError(
                    "callbacks.video.team_sizes must have at least one size, or be null for the training teams, got []"
                )
            self._try_worlds()

    def _try_worlds(self) -> None:
        with torch.random.fork_rng(devices=[]):
            for world in self.worlds:
                with closing(world.environment(self.make_env, 1, self.seed)) as env:
                    env.reset()
                    try:
                        env.scene(0)
                    except NotImplementedError as error:
                        raise ValueError(f"no videos: {error}") from error

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Record if the next multiple of `every_frames`, or an evaluation, is reached, in the first process only."""
        frames = datamodule_of(trainer).frames
        if not self._due(trainer, frames):
            return
        self._filmed_at = frames
        if trainer.is_global_zero:
            for world in self.worlds:
                self._film(trainer, algorithm_of(pl_module), world, frames)

    def _due(self, trainer: Trainer, frames: int) -> bool:
        if self.at_evaluations:
            evaluating = having(callbacks_of(trainer), "evaluated_at")
            evaluated = any(callback.evaluated_at == frames for callback in evaluating)
            return evaluated and frames != self._filmed_at  # replay makes several batches of one collection
        return self._schedule is not None and self._schedule.due(frames)

    def _film(self, trainer: Trainer, algorithm: EntityAlgorithm, world: World, frames: int) -> None:
        seed = seed_of(world.name, self.seed)
        # Seeding a TorchRL environment may seed PyTorch's global generator as well.
        with (
            torch.random.fork_rng(devices=[]),
            closing(world.environment(self.make_env, 1, seed)) as env,
            evaluating(algorithm),
        ):
            (recording,) = record(env, algorithm.actor(greedy=True, seed=seed), f"{frames:,} frames")
        path = unused(Path(trainer.default_root_dir) / "videos" / f"{frames}_{world.name}.gif")
        try:
            write_gif(path, _thinned(list(recording.pictures())))
        except OSError as error:
            trainer.print(f"video {path.name} not written ({error}); training goes on")
            self.lost_files.append(f"videos/{path.name}")
            return
        call_hook(trainer.loggers, "log_video", path, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Return the schedule."""
        return {"next": 0 if self._schedule is None else self._schedule.next}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the schedule."""
        if self._schedule is not None:
            self._schedule.next = state_dict["next"]


def _thinned(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """Return every k-th picture and the last one, with the smallest k that leaves at most `MAX_PICTURES`."""
    step = -(-(len(pictures) - 1) // (MAX_PICTURES - 1)) or 1
    return [*pictures[:-1:step], pictures[-1]]
