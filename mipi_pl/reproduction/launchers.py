"""Execution of a plan's tasks by a Hydra launcher: joblib on this machine, submitit on a Slurm cluster."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from mipi_pl.reproduction.tasks import Task, perform, write_tasks
from mipi_pl.run.flags import as_main, no_other_hydra
from mipi_pl.run.overrides import as_words
from mipi_pl.storage import run_folder
from mipi_pl.utils.errors import FailedError, UserError, one_message
from mipi_pl.utils.extras import how_to_install

LAUNCHERS = {
    "joblib": ("hydra_joblib_launcher", "n_jobs"),
    "submitit_local": ("hydra_submitit_launcher", None),
    "submitit_slurm": ("hydra_submitit_launcher", "array_parallelism"),
}
"""Plugin of each launcher, and its option for the number of simultaneous jobs, if it has one."""


def run_through(launcher: str, tasks: Sequence[Task], at_once: int, options: Sequence[str], folder: Path) -> None:
    """Run all tasks and return when they have ended; their results are in their run folders.

    Args:
        launcher: one of `LAUNCHERS`.
        tasks: tasks to run, at least one.
        at_once: number of tasks to run simultaneously; submitit_local ignores it and starts all.
        options: options of the launcher, such as ``partition=gpu``.
        folder: folder for the list of tasks and the launcher's files; all machines must share it.

    Raises:
        UserError: if the launcher is not installed or does not know an option.
        FailedError: if the launcher fails.
    """
    plugin, limit = LAUNCHERS[launcher]
    if find_spec("hydra_plugins") is None or find_spec(f"hydra_plugins.{plugin}") is None:
        raise UserError(f"--launcher {launcher} needs {plugin.replace('_', '-')}: {how_to_install('launchers')}")
    records = run_folder.new_folder(folder / "launcher")
    write_tasks(records / "tasks.json", tasks)
    ConfigStore.instance().store("mipi_task", {"task": 0, "tasks": str((records / "tasks.json").resolve())})
    arguments = [
        "--multirun",
        f"task={','.join(map(str, range(len(tasks))))}",
        f"hydra/launcher={launcher}",
        *([f"hydra.launcher.{limit}={at_once}"] if limit else []),
        *(f"hydra.launcher.{option}" for option in options),
        *as_words([{"hydra": {"sweep": {"dir": records.resolve()}}}]),
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
    ]
    try:
        with no_other_hydra(), as_main(["mipi reproduce", *arguments]):
            hydra.main(version_base="1.3", config_path=None, config_name="mipi_task")(perform)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"--launcher {launcher}: {one_message(error)}") from error
    except (RuntimeError, OSError) as error:  # submitit without Slurm, or a worker that was killed
        raise FailedError(f"--launcher {launcher}: {one_message(error)}") from error
