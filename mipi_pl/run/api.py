"""Python interface: training, evaluation, policies and environments, with the keys of the command line."""

from __future__ import annotations

import csv
import multiprocessing
import os
from collections.abc import Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from mipi_pl.actor import Actor
from mipi_pl.envs.base import EntityEnv
from mipi_pl.evaluation.results_table import Table
from mipi_pl.run.compose import compose
from mipi_pl.run.config import check_seed
from mipi_pl.run.evaluate import evaluate_checkpoint
from mipi_pl.run.loaded_run import open_checkpoint
from mipi_pl.run.overrides import Override, as_words
from mipi_pl.run.own_folder import as_flag, split
from mipi_pl.run.policy import Policy
from mipi_pl.run.resume import resume as resume_run
from mipi_pl.run.state import random_states_kept
from mipi_pl.run.train import train as train_composed
from mipi_pl.run.world import make_world
from mipi_pl.storage import run_folder, shipped
from mipi_pl.utils.errors import UserError

_TEXTS = ("policy", "evaluation", "level", "size", "composition")
"""Columns of results.csv that hold no number."""


class TrainedRun:
    """A run and what it left in its folder.

    A notebook shows its results as a table. ``Path(run)`` is the folder.

    Args:
        folder: run folder, such as ``outputs/latest``.
        config_dir: folder of modules of your own, if the run was trained with one and is not in it.

    Attributes:
        folder: run folder.
        config_dir: folder of modules of your own, or None.

    Raises:
        mipi_pl.utils.errors.UserError: if it is not a run folder.
    """

    def __init__(self, folder: str | Path, config_dir: str | Path | None = None) -> None:
        self.folder, self.config_dir = Path(folder).resolve(), config_dir
        if not (self.folder / run_folder.CONFIG).is_file():
            raise UserError(f"{folder} is not a run folder: it has no {run_folder.CONFIG}; see mipi runs")

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the last update, whose policy the results are about."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def results(self) -> Table:
        """Final results of the trained, the untrained and the scripted policies.

        Raises:
            mipi_pl.utils.errors.UserError: if the run is not finished.
        """
        if not self._is_finished:
            raise UserError(f"{self.folder} has no results yet; finish it with: mipi resume {self.folder}")
        return _table(self.folder)

    @property
    def metrics(self) -> list[dict[str, float | None]]:
        """Rows of metrics.csv: losses, collection and evaluations against ``step``; None where nothing was logged.

        Raises:
            mipi_pl.utils.errors.UserError: if the run has no metrics.csv.
        """
        rows = _rows(self.folder / "metrics.csv")
        return [{name: float(cell) if cell else None for name, cell in row.items()} for row in rows]

    @cached_property
    def policy(self) -> Policy:
        """The greedy policy of the last checkpoint."""
        return load_policy(self)

    def evaluate(self, *overrides: Override, **keywords: Any) -> Table:
        """Evaluate the last checkpoint; see `evaluate`."""
        return evaluate(self, *overrides, **keywords)

    def resume(self, total_frames: int | None = None) -> TrainedRun:
        """Continue the run in its folder; see `resume`."""
        self.__dict__.pop("policy", None)  # of the checkpoint that was the last one so far
        return resume(self, total_frames, self.config_dir)

    def __fspath__(self) -> str:
        return os.fspath(self.folder)

    def __repr__(self) -> str:
        return f"TrainedRun({run_folder.shown(self.folder)!r})"

    def _repr_html_(self) -> str:
        if not self._is_finished:
            return f"{escape(repr(self))}: not finished"
        return self.results._repr_html_()

    @property
    def _is_finished(self) -> bool:
        return (self.folder / run_folder.RESULTS).is_file()


def train(*overrides: Override, **keywords: Any) -> TrainedRun:
    """Train a policy, like ``mipi train OVERRIDES``. The global random generators are left as they were.

    Args:
        overrides: words of the command line, such as ``"experiment=quickstart"``, or dictionaries of keys and values,
            such as ``{"algorithm": "mipi", "algorithm.alpha": 0.1}``.
        keywords: a last dictionary: ``train(experiment="quickstart", seed=1)``.

    Returns:
        The run, with its folder, results, metrics and policy.

    Raises:
        mipi_pl.utils.errors.UserError: if an override is invalid.

    Examples:
        >>> run = train(experiment="matrix_game", debug="tiny", output_dir=getfixture("tmp_path"))
        >>> run.policy
        Policy(matrix_game__mipi__0 after 24 frames, greedy)
    """
    _refuse_in_worker("train")
    with random_states_kept():
        return TrainedRun(train_composed(compose(as_words(overrides, keywords))))


def resume(
    run: str | Path | TrainedRun, total_frames: int | None = None, config_dir: str | Path | None = None
) -> TrainedRun:
    """Continue an interrupted run, or train a run longer, like ``mipi resume RUN total_frames=N``.

    Args:
        run: run folder.
        total_frames: frames to train for in all; None for the budget of the run.
        config_dir: folder of modules of your own, if the run was trained with one and is not in it.

    Returns:
        The run.

    Raises:
        mipi_pl.utils.errors.UserError: if the run cannot be resumed, or has been trained for so many frames already.
    """
    own = split(_named(run, config_dir))[0]
    words = [] if total_frames is None else as_words([{"total_frames": total_frames}])
    _refuse_in_worker("resume")
    with random_states_kept():
        return TrainedRun(resume_run(Path(run), config_dir=own, overrides=words), own)


def evaluate(policy: str | Path | TrainedRun | Policy, *overrides: Override, **keywords: Any) -> Table:
    """Play greedy episodes, like ``mipi eval CHECKPOINT OVERRIDES``.

    Args:
        policy: a run, a loaded policy, whose file is read again, a file written by `mipi train` or `mipi export`, or
            the name of a policy that comes with the program.
        overrides: keys of configs/eval.yaml or of the environment, such as ``"env.team_sizes=[6,7,8]"`` or
            ``{"held_out": {"episodes": 64}}``; ``config_dir`` for modules of your own, see `load_policy`.
        keywords: a last dictionary, such as ``env={"team_sizes": [6, 7, 8]}``.

    Returns:
        The results; the folder of the table has results.json, results.csv and results.png.

    Raises:
        mipi_pl.utils.errors.UserError: if the policy cannot be used or an override is invalid.
    """
    words = [*_named(policy), *as_words(overrides, keywords)]
    return _table(evaluate_checkpoint(_file_of(policy), words, say=_say_notes))


def load_policy(
    checkpoint: str | Path | TrainedRun, greedy: bool = True, seed: int = 0, config_dir: str | Path | None = None
) -> Policy:
    """Load a policy that acts in a loop of your own: ``action = policy(observation)``.

    Args:
        checkpoint: a file written by `mipi train` or `mipi export`, a run, or the name of a policy that comes with the
            program.
        greedy: take the most probable action instead of sampling. A policy that maximises utilities, as that of REFIL
            does, takes the action of highest utility either way.
        seed: seed of the sampled actions.
        config_dir: folder of modules of your own, if the run was trained with one and the checkpoint is not in it.

    Returns:
        The policy, which keeps the recurrent state of each environment.

    Raises:
        mipi_pl.utils.errors.UserError: if the checkpoint or the seed cannot be used.
    """
    check_seed(seed, "seed")
    path = shipped.located(_file_of(checkpoint))
    loaded = open_checkpoint(path, _named(checkpoint, config_dir))
    actor: Actor = loaded.algorithm.actor(greedy=greedy, seed=seed)
    # Absolute, because the program may change its working directory.
    return Policy(actor, loaded.algorithm.spec, path.absolute(), loaded.record)


def make_env(
    name: str,
    *overrides: Override,
    num_envs: int = 1,
    team_size: int | None = None,
    composition: Mapping[str, int] | None = None,
    seed: int = 0,
    **arguments: Any,
) -> EntityEnv:
    """Make an environment, a batched TorchRL environment.

    Args:
        name: file of configs/env, such as ``sz``, or of your own folder with ``"config_dir=FOLDER"``.
        overrides: arguments of the environment as dictionaries, or words of the command line, such as
            ``"env.enemy_delta=1"`` or ``"network=refil"``.
        num_envs: B, environments stepped at once.
        team_size: number of agents; there are as many agent slots. None draws teams of the sizes in the config.
        composition: the only team, such as ``{"stalker": 3, "zealot": 2}``, with as many agent slots.
        seed: seed of the environments.
        arguments: a last dictionary of arguments: ``make_env("sz", team_sizes=[6, 7, 8])``.

    Returns:
        The environment.

    Raises:
        mipi_pl.utils.errors.UserError: if there is no such environment or it rejects an argument.
    """
    return make_world([f"env={name}", *overrides, arguments], num_envs, seed, team_size, composition)[0]


def _refuse_in_worker(call: str) -> None:
    """Check that this is not a worker process, which imports the script that started it before it does its work.

    Raises:
        UserError: if it is.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UserError(
            f"a worker process runs this script again and would call {call}() too: put the call under "
            'if __name__ == "__main__":'
        )


def _named(source: object, config_dir: str | Path | None = None) -> list[str]:
    """Return the flag that names the folder of the user's own modules, that of a run by default."""
    if config_dir is None and isinstance(source, TrainedRun):
        config_dir = source.config_dir
    return as_flag(config_dir)


def _file_of(policy: str | Path | TrainedRun | Policy) -> Path:
    if isinstance(policy, TrainedRun):
        return policy.checkpoint
    if isinstance(policy, Policy):
        return policy.path
    if not isinstance(policy, (str, Path)):
        raise UserError(f"expected a file, a run or the name of a policy, got {policy!r}")
    return Path(policy)


def _table(folder: Path) -> Table:
    rows = _rows(folder / "results.csv")
    return Table([{name: _value(name, cell) for name, cell in row.items()} for row in rows], folder)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error})") from error


def _value(name: str, cell: str) -> str | int | float:
    if name in _TEXTS:
        return cell
    return int(cell) if name == "episodes" else float(cell)


def _say_notes(text: str) -> None:
    """Print notes only; the results are returned."""
    if text.startswith("note:"):
        print(text)
