"""A run folder as it is found: finished or not, whole or damaged. Reading one never fails; it says what is amiss."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.reporting.run_files import (
    Point,
    attempt,
    logged_frames,
    mapping,
    number,
    read_curve,
    read_failure,
    read_mapping,
    read_policies,
    whole,
)
from mipi_pl.reporting.tallies import Played
from mipi_pl.storage.checkpoints import CheckpointFolder
from mipi_pl.storage.lock import in_use
from mipi_pl.storage.run_folder import CONFIG, EVALUATIONS, FAILURE, PROVENANCE, RESULTS
from mipi_pl.utils.errors import UserError

_TIME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(-\d+)?")  # `run_folder.new_folder`

STATES = ("running", "finished", "interrupted", "failed", "damaged")
"""Damaged: a finished run whose results cannot be read."""


@dataclass(frozen=True)
class Run:
    """What a run folder holds; where something is missing or damaged, `problems` says so and the field is empty.

    Attributes:
        folder: of the run.
        state: one of `STATES`.
        problems: a line each.
        environment: name of its config.
        algorithm: name of its config.
        seed: of training.
        config: resolved.
        frames: environment steps, as far as is known from what is written.
        updates: of the learner.
        seconds: from the start to the end of a finished run.
        provenance: command, commit, versions and machine.
        curve: every evaluation, by frames.
        resumable: whether there is a checkpoint to go on from.
        policies: ``trained``, ``untrained`` and the scripted ones: their evaluations at the end.
    """

    folder: Path
    state: str
    problems: tuple[str, ...] = ()
    environment: str = "?"
    algorithm: str = "?"
    seed: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    frames: int = 0
    updates: int = 0
    seconds: float | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    curve: tuple[Point, ...] = ()
    resumable: bool = False
    policies: Mapping[str, Mapping[str, Played]] = field(default_factory=dict)

    @property
    def budget(self) -> int | None:
        """Frames that it was to train."""
        return whole(self.config.get("total_frames"))

    @property
    def precedence(self) -> tuple[bool, bool, str]:
        """The largest of one seed counts: what is whole, of that what is no copy under another name, and the newest."""
        return not self.problems, bool(_TIME.fullmatch(self.folder.name)), self.folder.name

    @property
    def commit(self) -> str | None:
        """Of the code; None where it is not known."""
        return _text(self.provenance.get("commit"))

    @property
    def command(self) -> str | None:
        """That started it; None where it is not known."""
        return _text(self.provenance.get("command"))

    @property
    def winnable(self) -> bool:
        """Whether its scores are win rates; of a run without any, True."""
        return all(point.tally.winnable for point in self.curve)

    def held_out(self) -> dict[int, float]:
        """Frames to the mean score over the held-out evaluations of that moment."""
        found: dict[int, dict[str, float]] = {}
        for point in self.curve:
            if point.evaluation != TRAINING:
                found.setdefault(point.frames, {})[point.evaluation] = point.tally.score.value
        return {frames: sum(scores.values()) / len(scores) for frames, scores in sorted(found.items())}


def read_run(folder: Path) -> Run:
    """What the folder says, and what is wrong with it."""
    problems: list[str] = []
    config = attempt(lambda: read_mapping(folder / CONFIG), CONFIG, problems) or {}
    environment, algorithm, seed = _names(folder, config, problems)
    curve = attempt(lambda: read_curve(folder / EVALUATIONS, problems), EVALUATIONS, problems) or []
    finished = (folder / RESULTS).exists()
    results = (attempt(lambda: read_mapping(folder / RESULTS), RESULTS, problems) or {}) if finished else {}
    policies = (attempt(lambda: read_policies(results), RESULTS, problems) or {}) if results else {}
    provenance = (
        results or attempt(lambda: read_mapping(folder / PROVENANCE), PROVENANCE, problems, optional=True) or {}
    )
    state = _state(folder, finished, bool(policies))
    if state == "failed":
        problems.append(attempt(lambda: read_failure(folder), FAILURE, problems) or "failed")
    checkpoints = attempt(lambda: CheckpointFolder(folder).entries(), "checkpoints", problems) or []
    logged = attempt(lambda: logged_frames(folder / "metrics.csv"), "metrics.csv", problems, optional=True) or 0
    reached = [logged, *(point.frames for point in curve), *(entry.frames for entry in checkpoints)]
    return Run(
        folder=folder,
        state=state,
        problems=tuple(problems),
        environment=environment,
        algorithm=algorithm,
        seed=whole(config.get("seed", results.get("seed", seed))),
        config=config,
        frames=whole(results.get("frames")) or max(reached),
        updates=whole(results.get("updates")) or 0,
        seconds=number(results.get("seconds")),
        provenance={key: provenance[key] for key in ("command", "commit", "versions", "machine") if key in provenance},
        curve=tuple(curve),
        resumable=bool(checkpoints),
        policies=policies,
    )


def _names(folder: Path, config: Mapping[str, Any], problems: list[str]) -> list[str]:
    """Environment, algorithm and seed; those that the config does not name from the name of the folder, or `?`."""
    chosen, named = mapping(config.get("run")), folder.parent.name.split("__")
    if config and not {"environment", "algorithm"} <= set(chosen):
        problems.append(f"{CONFIG} is not that of a run: it names no environment and algorithm under `run`")
    if len(named) != 3:
        named = ["?", "?", "?"]
    return [str(chosen.get("environment", named[0])), str(chosen.get("algorithm", named[1])), named[2]]


def find_runs(paths: Iterable[Path]) -> list[Run]:
    """The runs in or below folders, each once, by folder; links are not followed, but those that are named.

    Raises:
        UserError: if a path is no folder.
    """
    found: set[Path] = set()
    for path in paths:
        if not path.is_dir():
            what = "is a file" if path.exists() else "does not exist"
            raise UserError(f"expected a folder with runs, such as outputs, got {path}, which {what}")
        for below, folders, names in os.walk(path.resolve()):
            if _is_run(Path(below), names, folders):
                found.add(Path(below))
                folders.clear()
            folders[:] = [name for name in folders if not name.startswith(".")]
    return [read_run(folder) for folder in sorted(found)]


def _is_run(folder: Path, names: list[str], folders: list[str]) -> bool:
    """Anything that `mipi train` leaves, since any of it may be lost; the folders of `mipi eval` are not runs."""
    if EVALUATIONS in names or PROVENANCE in names or (CONFIG in names and folder.parent.name.count("__") == 2):
        return True
    return (CONFIG in names or "checkpoints" in folders) and RESULTS in names


def _state(folder: Path, finished: bool, readable: bool) -> str:
    if finished:
        return "finished" if readable else "damaged"
    if in_use(folder):
        return "running"
    return "failed" if (folder / FAILURE).exists() else "interrupted"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
