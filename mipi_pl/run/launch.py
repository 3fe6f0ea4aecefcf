"""Launch of the runs of one command, by Hydra. The jobs of a multirun are started one after the other."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig

from mipi_pl.run.build import environment_factory, one_environment
from mipi_pl.run.compose import as_hydra_has_it, compose
from mipi_pl.run.config import check_structure, check_train, resolve
from mipi_pl.run.flags import read_flags, through_hydra
from mipi_pl.run.help import help_text
from mipi_pl.run.learner import build_algorithm, check_optimizers
from mipi_pl.run.naming import name_run
from mipi_pl.run.own_folder import as_override, named_folder, search_path
from mipi_pl.run.schema import Config
from mipi_pl.run.teams import teams_of
from mipi_pl.run.train import train
from mipi_pl.storage import run_folder
from mipi_pl.utils.compat import sweep
from mipi_pl.utils.errors import DivergedError, FailedError, UserError, WorldFaultError, first_line, one_message
from mipi_pl.utils.memory import ShortageError, is_shortage


def launch(arguments: Sequence[str]) -> None:
    """Train once or, with ``-m``, once for each combination of overrides.

    The configs of all runs are checked before the first run starts. If one of several runs fails, the others go on,
    except with a launcher of Hydra (``hydra/launcher=NAME``), which runs them in other processes.

    Raises:
        UserError: if any of the configs is invalid, or there is no such flag.
        FailedError: if any of several runs failed, after the last one.
    """
    flags = read_flags(as_override(as_hydra_has_it(arguments)))
    if flags.wants_help:
        first = combinations(flags.overrides)[0] if flags.is_multirun else flags.overrides
        own = named_folder(first)
        print(help_text(compose(first), first, None if own is None else Path(own)))
        return
    if not flags.words:
        train(compose(flags.overrides))
        return
    jobs = combinations(flags.overrides) if flags.is_multirun else [flags.overrides]
    for job in jobs:
        config = check_train(resolve(compose(job)))
        if flags.is_multirun and "--cfg" not in flags.words:
            _check_parts(config)
    failed: list[str] = []
    launchers = [word.partition("=")[2] for word in flags.overrides if word.lstrip("+").startswith("hydra/launcher=")]
    in_other_processes = bool(launchers) and launchers[-1] != "basic"

    def work(config: DictConfig) -> None:
        try:
            _train(config)
        except Exception as error:
            # A mistake, a UserError, ends all runs: it would end the others as well. What another process appends to
            # `failed` would be lost, so there the launcher is told, which then ends all runs.
            known = isinstance(error, (FailedError, DivergedError, WorldFaultError, OSError))
            if not flags.is_multirun or in_other_processes or not (known or is_shortage(error)):
                raise
            failed.append(run_folder.shown(Path(config.run.folder)))
            reason = first_line(error if known else ShortageError(error))
            print(f"mipi: {reason}", file=sys.stderr)

    through_hydra([*flags.overrides, *search_path(flags.overrides), *flags.words], work)
    if failed:
        raise FailedError(f"{len(failed)} of {len(jobs)} runs failed: {', '.join(failed)}")


def _check_parts(config: Config) -> None:
    """Check the teams and the algorithm of a run that begins only when earlier runs have been trained."""
    teams_of(config)
    with one_environment(environment_factory(config["env"])) as env:
        check_optimizers(build_algorithm(config["algorithm"], env.entity_spec))


def _train(config: DictConfig) -> None:
    hydra_config = HydraConfig.get()
    check_structure(config)
    name_run(config, hydra_config.runtime.choices, hydra_config.overrides.task)
    train(config)


def combinations(overrides: list[str]) -> list[list[str]]:
    """Return the overrides of each job of a multirun.

    Raises:
        UserError: if an override cannot be parsed.
    """
    try:
        return sweep(overrides)
    except HydraException as error:
        raise UserError(one_message(error)) from error
