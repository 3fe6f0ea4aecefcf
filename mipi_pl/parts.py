"""What a run is made of, from its config."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer

from mipi_pl import ranks
from mipi_pl.assembly import build
from mipi_pl.config import Config
from mipi_pl.envs.base import EntityEnv
from mipi_pl.errors import UserError
from mipi_pl.loggers import going_on
from mipi_pl.run_state import RunState


@dataclass
class Parts:
    """What a run is made of."""

    datamodule: Any  # a LightningDataModule with env, frames, episodes and cut_short
    algorithm: LightningModule
    trainer: Trainer
    state: RunState

    @property
    def env(self) -> EntityEnv:
        """The training environments."""
        env: EntityEnv = self.datamodule.env
        return env

    @property
    def resumes_exactly(self) -> bool:
        """Whether a resumed run is the run that was not interrupted, bit for bit."""
        return bool(getattr(self.datamodule, "exact_resume", True)) and self.env.resumable

    @property
    def frames(self) -> int:
        """Environment steps collected, over all processes."""
        return int(self.datamodule.frames)

    def cut_short(self) -> int:
        """Episodes that faults of the world have ended, over all processes, which all ask."""
        return sum(ranks.gather(int(self.datamodule.cut_short)))

    @property
    def updates(self) -> int:
        """Learning updates done."""
        return int(self.algorithm.updates)  # type: ignore[arg-type]


def assemble(config: Config, folder: Path) -> Parts:
    """Build every part; nothing is written but the replay, if it is in memory maps.

    Raises:
        UserError: if a part refuses its values, or does not go with another.
    """
    datamodule = build("datamodule", config["datamodule"])
    algorithm = build("algorithm", config["algorithm"], spec=datamodule.env.entity_spec)
    try:
        algorithm.configure_optimizers()  # once for nothing: a bad learning rate is found now and not during fit
    except (TypeError, ValueError) as error:
        raise UserError(f"algorithm: {error}") from error
    callbacks = [build(f"callbacks.{name}", node) for name, node in config["callbacks"].items()]
    _refuse_misfits(algorithm, datamodule, callbacks)
    loggers = [going_on(build(f"logger.{name}", node), name) for name, node in config["logger"].items()]
    state = RunState(config, folder)
    callbacks.append(state)
    trainer = build("trainer", config["trainer"], callbacks=callbacks, logger=loggers, default_root_dir=str(folder))
    return Parts(datamodule, algorithm, trainer, state)


def _refuse_misfits(algorithm: Any, datamodule: Any, callbacks: list[Any]) -> None:
    """Parts that would train, and wrongly, without a word."""
    refreshed = any(getattr(callback, "refreshes_targets", False) for callback in callbacks)
    if getattr(algorithm, "awaits_target_updates", False) and not refreshed:
        raise UserError(
            f"algorithm: {type(algorithm).__name__} has target networks and no callback refreshes them: choose "
            "callbacks=default, or targets among the callbacks; one of your own says `refreshes_targets = True`"
        )
    by_utilities = any(getattr(callback, "by_utilities", False) for callback in callbacks)
    if by_utilities and not getattr(algorithm, "fits_policy_to_utilities", False):
        raise UserError(
            f"callbacks.generalization.by_utilities: {type(algorithm).__name__} has no policy beside its utilities to "
            "be compared with them: set it to false, or choose algorithm=mipi, value, entropy or alpha_infinity"
        )
    wanted, given = (getattr(part, "on_policy", None) for part in (algorithm, datamodule))
    if None not in (wanted, given) and wanted != given:
        told = {True: "rollouts of the present policy (datamodule=on_policy)", False: "a replay (datamodule=replay)"}
        raise UserError(
            f"datamodule: {type(algorithm).__name__} learns from {told[bool(wanted)]}, got "
            f"{type(datamodule).__name__}: algorithms of this program choose theirs where datamodule is left out"
        )
