"""Greedy evaluation on training teams and held-out teams during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from mipi_pl.algorithms.base import EntityAlgorithm, algorithm_of
from mipi_pl.callbacks.schedule import EveryFrames
from mipi_pl.datamodule import datamodule_of
from mipi_pl.envs.base import MakeEnv
from mipi_pl.evaluation.generalization import Result, evaluate, greedy_policies
from mipi_pl.evaluation.tables import Row, append_csv, rows_of
from mipi_pl.evaluation.worlds import TRAINING, World, Worlds, worlds_of
from mipi_pl.logging.hooks import call_hook
from mipi_pl.storage.run_folder import EVALUATIONS
from mipi_pl.utils.checks import require
from mipi_pl.utils.modules import evaluating


class GeneralizationEvaluation(Callback):
    """Plays greedy episodes every `every_frames` environment steps, in environments of its own.

    Logs ``eval/win_rate_<name>`` and ``eval/return_<name>``, with intervals ``.._low`` and ``.._high``, for the
    training teams and each held-out size. ``eval/score_<name>`` is the win rate, or the return in environments without
    a win condition, which have no win rates. ``held_out/score`` is the mean score of the held-out evaluations.

    The results by size and by composition are written to ``evaluations.csv`` in the run folder and passed to loggers
    that have a method ``log_evaluation``. Rows that cannot be written, for example on a full disk, are kept and written
    with the next evaluation. The environments and random numbers of training are not affected.

    Args:
        make_env: factory of the training environment.
        every_frames: environment steps between two evaluations.
        episodes: greedy episodes per evaluation.
        team_sizes: held-out team sizes; each is one evaluation.
        worlds: further evaluations: name to the environment arguments that differ from training.
        seed: seed of the evaluation environments.
        by_utilities: for algorithms that have both a policy and utilities, also play the training teams with the argmax
            of the utilities, and log ``eval/win_rate_training_by_utilities`` and so on. If that wins more often, the
            policy lags behind its critic.

    Attributes:
        latest: results of the latest evaluation.
        evaluated_at: environment steps at the latest evaluation of this process; None before the first.
        latest_by_utilities: results of the latest evaluation by utilities; empty without `by_utilities`.

    Raises:
        ValueError: if a count is not positive.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        every_frames: int,
        episodes: int,
        team_sizes: Sequence[int] = (),
        worlds: Mapping[str, Mapping[str, Any]] | None = None,
        seed: int = 0,
        by_utilities: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("every_frames", every_frames), ("episodes", episodes)):
            require(f"callbacks.generalization.{name}", value, 1)
        self.worlds = Worlds(make_env, worlds_of(team_sizes, worlds or {}), episodes, seed)
        self.by_utilities = by_utilities
        self.latest: list[Result] = []
        self.evaluated_at: int | None = None
        self.latest_by_utilities: list[Result] = []
        self._schedule = EveryFrames(every_frames)
        self._unwritten: list[Row] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Evaluate if the next multiple of `every_frames` has been reached."""
        frames = datamodule_of(trainer).frames
        if self._schedule.due(frames):
            self.evaluate(trainer, algorithm_of(pl_module), frames)

    def evaluate(self, trainer: Trainer, algorithm: EntityAlgorithm, frames: int) -> None:
        """Evaluate the policy, keep the results in `latest`, log them and write them to ``evaluations.csv``."""
        with evaluating(algorithm):
            self.latest, self.evaluated_at = self._play(algorithm), frames
            if self.by_utilities and algorithm.fits_policy_to_utilities:
                self.latest_by_utilities = self._play(algorithm, self.worlds.worlds[:1], by_utilities=True)
        metrics = self.metrics()
        # Both calls are needed: Lightning's logging drops rows between multiples of log_every_n_steps, and it alone
        # fills `callback_metrics`, which checkpointing monitors.
        algorithm.log_dict(metrics, logger=False)
        rows = rows_of("greedy", self.latest)
        for logger in trainer.loggers:
            logger.log_metrics({**metrics, "frames": float(frames)}, step=trainer.global_step)
        call_hook(trainer.loggers, "log_evaluation", rows, frames, trainer.global_step)
        if trainer.is_global_zero:
            head = {"frames": frames, "updates": algorithm.updates}
            self._unwritten += [{**head, **row} for row in rows]
            self._write(trainer)

    def _play(self, algorithm: EntityAlgorithm, chosen: Sequence[World] | None = None, **how: bool) -> list[Result]:
        return evaluate(greedy_policies(algorithm, **how), self.worlds, chosen)

    def _write(self, trainer: Trainer) -> None:
        try:
            append_csv(Path(trainer.default_root_dir) / EVALUATIONS, self._unwritten)
        except OSError as error:
            trainer.print(f"evaluations.csv not written ({error}); the rows are kept and written with the next ones")
        else:
            self._unwritten = []

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rows that could not be written before."""
        if self._unwritten and trainer.is_global_zero:  # a checkpoint restores the rows in all processes
            self._write(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the environments."""
        self.worlds.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the environments, because Lightning does not call `teardown` after an exception."""
        self.worlds.close()

    def metrics(self) -> dict[str, float]:
        """Return the latest results under the names that are logged."""
        metrics: dict[str, float] = {}
        named = [(result.name, result) for result in self.latest]
        named += [(f"{result.name}_by_utilities", result) for result in self.latest_by_utilities]
        for name, result in named:
            metrics[f"eval/score_{name}"] = result.total.headline.value
            for key, value in result.total.as_dict().items():
                quantity, _, end = key.rpartition("_") if key.endswith(("_low", "_high")) else (key, "", "")
                if key != "episodes":
                    metrics[f"eval/{quantity}_{name}" + (f"_{end}" if end else "")] = float(value)
        held_out = [result.total.headline.value for result in self.latest if result.name != TRAINING]
        return metrics | ({"held_out/score": sum(held_out) / len(held_out)} if held_out else {})

    @property
    def owed_files(self) -> list[str]:
        """``evaluations.csv`` if rows of it could not be written."""
        return [EVALUATIONS] if self._unwritten else []

    def state_dict(self) -> dict[str, Any]:
        """Return the schedule and the rows that could not be written yet."""
        return {"next": self._schedule.next, "unwritten": self._unwritten}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the schedule and the rows that could not be written yet."""
        self._schedule.next, self._unwritten = state_dict["next"], state_dict.get("unwritten", [])
