"""The objects of a run, built from its config and checked for whether they fit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger

from mipi_pl import distributed
from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.datamodule import DataModule
from mipi_pl.evaluation.worlds import WorldError, Worlds
from mipi_pl.logging.hooks import call_hook, never_fatal
from mipi_pl.roles import having
from mipi_pl.run.build import build
from mipi_pl.run.learner import build_algorithm, check_optimizers, refuse_large_batches
from mipi_pl.run.schema import Config, Node
from mipi_pl.run.state import RunState
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.compat import attach
from mipi_pl.utils.errors import UserError


@dataclass
class Parts:
    """The objects of a run."""

    datamodule: DataModule
    algorithm: EntityAlgorithm
    trainer: Trainer
    state: RunState

    @property
    def resumes_exactly(self) -> bool:
        """Whether a resumed run is bit-for-bit identical to an uninterrupted one."""
        return getattr(self.datamodule, "exact_resume", True) and self.datamodule.env.resumable

    def cut_short(self) -> int:
        """Return the number of episodes ended by environment faults, summed over all processes.

        Every process must call this.
        """
        return sum(distributed.gather(self.datamodule.cut_short))


def assemble(config: Config, folder: Path, trainer: Trainer) -> Parts:
    """Build every part of a run and attach the callbacks and loggers to the Trainer.

    Nothing is written to disk except a replay that is stored in memory maps.

    Raises:
        UserError: if a part rejects its values or is incompatible with another.
    """
    datamodule = build("datamodule", config["datamodule"])
    loggers: list[Logger] = []
    try:
        algorithm = build_algorithm(config["algorithm"], datamodule.env.entity_spec)
        check_optimizers(algorithm)
        refuse_large_batches(algorithm, datamodule)
        callbacks = [build(f"callbacks.{name}", node) for name, node in config["callbacks"].items()]
        _refuse_misfits(algorithm, datamodule, callbacks)
        _refuse_endless(config["trainer"], callbacks)
        _refuse_short_budget(datamodule, config["total_frames"])
        _check_worlds(dict(zip(config["callbacks"], callbacks, strict=True)), datamodule.env.entity_spec)
        for name, node in config["logger"].items():
            loggers.append(never_fatal(build(f"logger.{name}", node), name))
        state = RunState(config, folder)
        try:
            attach(trainer, config["trainer"], [*callbacks, state], loggers, folder)
        except (MisconfigurationException, RuntimeError) as error:
            raise UserError(f"callbacks or trainer: {error}") from error
    except BaseException:
        call_hook(loggers, "close", False)
        datamodule.teardown("fit")
        raise
    return Parts(datamodule, algorithm, trainer, state)


def _refuse_misfits(algorithm: EntityAlgorithm, datamodule: DataModule, callbacks: list[Any]) -> None:
    """Reject combinations of parts that would train incorrectly without an error."""
    refreshed = any(callback.refreshes_targets for callback in having(callbacks, "refreshes_targets"))
    if algorithm.awaits_target_updates and not refreshed:
        raise UserError(
            f"algorithm: {type(algorithm).__name__} has target networks and no callback refreshes them: choose "
            "callbacks=default or include targets in callbacks=[...]; a callback of your own must set "
            "`refreshes_targets = True`"
        )
    partitioned = any(callback.adds_partitions for callback in having(callbacks, "adds_partitions"))
    if algorithm.partitions_per_batch and not partitioned:
        without = " and ".join(algorithm.without_partitions)
        raise UserError(
            f"algorithm: {type(algorithm).__name__} learns with imaginary teams and no callback draws them: keep "
            f"callbacks.imaginary_partition{f', or set {without}' if without else ''}; a callback of your own must "
            "set `adds_partitions = True`"
        )
    by_utilities = any(callback.by_utilities for callback in having(callbacks, "by_utilities"))
    if by_utilities and not algorithm.fits_policy_to_utilities:
        raise UserError(
            f"callbacks.generalization.by_utilities: {type(algorithm).__name__} has no policy to compare with its "
            "utilities: set it to false, or choose algorithm=mipi, value, entropy or alpha_infinity"
        )
    films_evaluations = any(callback.at_evaluations for callback in having(callbacks, "at_evaluations"))
    if films_evaluations and not having(callbacks, "evaluated_at"):
        raise UserError("callbacks.video.every_frames=evaluation needs evaluations: keep callbacks.generalization")
    wanted, given = algorithm.on_policy, getattr(datamodule, "on_policy", None)
    if None not in (wanted, given) and wanted != given:
        sources = {True: "rollouts of the present policy (datamodule=on_policy)", False: "a replay (datamodule=replay)"}
        raise UserError(
            f"datamodule: {type(algorithm).__name__} learns from {sources[bool(wanted)]}, got "
            f"{type(datamodule).__name__}: leave datamodule out, and an algorithm of this program chooses its own"
        )


def _check_worlds(callbacks: Mapping[str, Any], spec: EntitySpec) -> None:
    """Create the worlds in which callbacks evaluate the policy, before training needs them."""
    for name, callback in callbacks.items():
        if having([callback], "worlds") and isinstance(callback.worlds, Worlds):
            try:
                callback.worlds.check(spec)
            except WorldError as error:
                raise UserError(f"callbacks.{name}: {error}") from error


def _refuse_endless(trainer: Node, callbacks: list[Any]) -> None:
    """Reject a run that nothing ends."""
    limited = trainer.get("max_time") or trainer.get("fast_dev_run") or trainer.get("max_steps", -1) != -1
    if not limited and not any(callback.ends_training for callback in having(callbacks, "ends_training")):
        raise UserError(
            "callbacks: none of them ends training after total_frames: keep callbacks.frame_budget, or set "
            "+trainer.max_steps or +trainer.max_time; a callback of your own must set `ends_training = True`"
        )


def _refuse_short_budget(datamodule: DataModule, total_frames: int) -> None:
    """Reject a run whose frame budget ends before its first update, even if every episode has a single step."""
    needed = getattr(datamodule, "episodes_before_update", 0) * distributed.size()
    if needed > total_frames:
        raise UserError(
            f"the first update needs {needed:,} episodes, and total_frames allows {total_frames:,} steps: lower "
            "datamodule.warmup_episodes or batch_size, or raise datamodule.updates_per_episode or total_frames"
        )
