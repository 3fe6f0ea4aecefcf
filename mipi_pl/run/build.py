"""Construction of the objects of a run from its config; a value that a constructor rejects raises `UserError`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger

from mipi_pl import distributed
from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.datamodule import DataModule
from mipi_pl.envs.base import EntityEnv
from mipi_pl.evaluation.rollout import Policy
from mipi_pl.evaluation.worlds import MakeEnv, MakePolicy
from mipi_pl.logging.hooks import call_hook, never_fatal
from mipi_pl.run.config import Config
from mipi_pl.run.state import RunState
from mipi_pl.utils.compat import attach
from mipi_pl.utils.errors import UserError

_REFUSALS = (ValueError, TypeError, MisconfigurationException, OSError, ImportError, KeyError)


def build(name: str, node: Mapping[str, Any], **more: Any) -> Any:
    """Instantiate a ``_target_`` node.

    Args:
        name: name of the node, for messages.
        node: config of the node.
        more: further keyword arguments, which a config cannot hold.

    Returns:
        The object, or a `functools.partial` if the node sets ``_partial_``.

    Raises:
        UserError: if the constructor rejects its arguments.
    """
    try:
        # Hydra would convert a dataclass in `more` to a config, so it only builds a factory, which is called here.
        factory = hydra.utils.instantiate({**node, "_partial_": True}, _convert_="all")
        return factory if node.get("_partial_") else factory(**more)
    except (InstantiationException, *_REFUSALS) as error:
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        if not isinstance(cause, (InstantiationException, *_REFUSALS)):
            raise
        raise UserError(f"{name}: {cause}") from error


def environment_factory(node: Mapping[str, Any]) -> MakeEnv:
    """Return the factory ``make_env`` for an environment config."""
    factory: MakeEnv = build("env", {**node, "_partial_": True})
    return factory


@contextmanager
def one_environment(make_env: MakeEnv, **changes: Any) -> Iterator[EntityEnv]:
    """Create a single environment, for example to read its sizes, and close it on exit.

    Raises:
        UserError: if the environment rejects its arguments.
    """
    try:
        env = make_env(num_envs=1, seed=0, **changes)
    except _REFUSALS as error:
        raise UserError(f"env: {error}") from error
    env.tolerant = True
    with closing(env):
        yield env


def policies_of(algorithm: Any) -> MakePolicy:
    """Return a factory of greedy policies of an algorithm."""

    def make(_: EntityEnv, seed: int) -> Policy:
        policy: Policy = algorithm.actor(greedy=True, seed=seed)
        return policy

    return make


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
        algorithm = build("algorithm", config["algorithm"], spec=datamodule.env.entity_spec)
        try:
            algorithm.configure_optimizers()  # finds an invalid learning rate before fit
        except (TypeError, ValueError) as error:
            raise UserError(f"algorithm: {error}") from error
        callbacks = [build(f"callbacks.{name}", node) for name, node in config["callbacks"].items()]
        _refuse_misfits(algorithm, datamodule, callbacks)
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
    refreshed = any(getattr(callback, "refreshes_targets", False) for callback in callbacks)
    if getattr(algorithm, "awaits_target_updates", False) and not refreshed:
        raise UserError(
            f"algorithm: {type(algorithm).__name__} has target networks and no callback refreshes them: choose "
            "callbacks=default or include targets in callbacks=[...]; a callback of your own must set "
            "`refreshes_targets = True`"
        )
    by_utilities = any(getattr(callback, "by_utilities", False) for callback in callbacks)
    if by_utilities and not getattr(algorithm, "fits_policy_to_utilities", False):
        raise UserError(
            f"callbacks.generalization.by_utilities: {type(algorithm).__name__} has no policy to compare with its "
            "utilities: set it to false, or choose algorithm=mipi, value, entropy or alpha_infinity"
        )
    wanted, given = (getattr(part, "on_policy", None) for part in (algorithm, datamodule))
    if None not in (wanted, given) and wanted != given:
        sources = {True: "rollouts of the present policy (datamodule=on_policy)", False: "a replay (datamodule=replay)"}
        raise UserError(
            f"datamodule: {type(algorithm).__name__} learns from {sources[bool(wanted)]}, got "
            f"{type(datamodule).__name__}: leave datamodule out, and an algorithm of this program chooses its own"
        )
