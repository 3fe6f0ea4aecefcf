"""Reading of run folders, finished or not. A damaged folder raises no error; the run lists its problems."""

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
from mipi_pl.storage.checksums import differing
from mipi_pl.storage.extended import lengthened, recorded
from mipi_pl.storage.former_names import with_present_names
from mipi_pl.storage.lock import in_use
from mipi_pl.storage.run_folder import CONFIG, EVALUATIONS, EXTENDED, FAILURE, PROVENANCE, RESULTS
from mipi_pl.utils.errors import UserError
from mipi_pl.utils.memory import require_memory

_TIME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(-\d+)?")  # `run_folder.new_folder`

_MAX_FOLDERS = 200_000
"""Folders that are searched at most: a minute on a slow disk."""
_SYSTEM = ("proc", "sys", "dev")
"""Folders of the system below the root, which contain no files of users."""
_PARSED_SIZE = 20
"""Memory of a parsed file, as a multiple of its size."""

EXTENDED_FROM = "extended_from"
"""Key of the former budgets of an extended run. It is no seed of a run that had the longer budget from its start, whose
learning rates decayed once."""

STATES = ("running", "finished", "interrupted", "failed", "damaged")
"""States of a run; ``damaged`` is a finished run whose results cannot be read."""


@dataclass(frozen=True)
class Run:
    """Content of a run folder. Fields whose file is missing or damaged are empty, and `problems` gives the reason.

    Attributes:
        folder: run folder.
        state: one of `STATES`.
        problems: one line per problem.
        environment: name of the environment config.
        algorithm: name of the algorithm config.
        seed: random seed of training.
        config: resolved config. That of a run that `mipi resume RUN total_frames=N` trained longer has the new budget,
            and the former ones as `EXTENDED_FROM`.
        frames: environment steps collected, according to the files.
        updates: number of learner updates of a finished run.
        seconds: duration of a finished run.
        provenance: command, commit, versions and machine with which the run began.
        resumptions: the same for each resumption, as far as results tell.
        curve: all evaluations, sorted by frames.
        resumable: whether a checkpoint to resume from exists.
        policies: final evaluations by policy (``trained``, ``untrained`` and the scripted ones), then by name.
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
    resumptions: tuple[Any, ...] = ()
    curve: tuple[Point, ...] = ()
    resumable: bool = False
    policies: Mapping[str, Mapping[str, Played]] = field(default_factory=dict)

    @property
    def budget(self) -> int | None:
        """Environment steps to train for (``total_frames``); None if unknown."""
        return whole(self.config.get("total_frames"))

    @property
    def precedence(self) -> tuple[bool, bool, str]:
        """Sort key for runs of the same seed, of which the largest is used.

        The key prefers runs without problems, then folders with an original name (not copies), then newer runs.
        """
        return not self.problems, bool(_TIME.fullmatch(self.folder.name)), self.folder.name

    @property
    def commit(self) -> str | None:
        """Commit of the code; None if unknown."""
        return _text(self.provenance.get("commit"))

    @property
    def commits(self) -> set[str]:
        """Commits of the code when the run began and when it was resumed; ``unknown`` where one is."""
        resumed = [mapping(entry).get("commit") for entry in self.resumptions]
        return {_text(commit) or "unknown" for commit in (self.commit, *resumed)}

    @property
    def command(self) -> str | None:
        """Command that started the run; None if unknown."""
        return _text(self.provenance.get("command"))

    @property
    def winnable(self) -> bool:
        """Whether the scores on the curve are win rates; True for an empty curve."""
        return all(point.tally.winnable for point in self.curve)

    def points(self, evaluation: str) -> list[Point]:
        """Return the points of one evaluation while learning, without the final evaluation, one for each frame."""
        points = [point for point in self.curve if point.evaluation == evaluation]
        final = self.policies.get("trained", {}).get(evaluation)
        if len(points) > 1 and final is not None and points[-1].tally == final.total:
            points.pop()
        return list({point.frames: point for point in points}.values())

    def held_out(self) -> dict[int, float]:
        """Return the mean score over the held-out evaluations, by frames.

        A run may play fewer evaluations while it learns than at its start and end. Every mean is over the same ones:
        those of all points, or, if there is none, those of the last point.
        """
        scores_at: dict[int, dict[str, float]] = {}
        for point in self.curve:
            if point.evaluation != TRAINING:
                scores_at.setdefault(point.frames, {})[point.evaluation] = point.tally.score.value
        if not scores_at:
            return {}
        common = set.intersection(*map(set, scores_at.values())) or set(scores_at[max(scores_at)])
        return {
            frames: sum(scores[name] for name in scores if name in common) / len(common)
            for frames, scores in sorted(scores_at.items())
            if common <= scores.keys()
        }


def read_run(folder: Path) -> Run:
    """Read a run folder; problems are collected in the result."""
    problems: list[str] = []
    config = attempt(lambda: with_present_names(read_mapping(folder / CONFIG)), CONFIG, problems) or {}
    environment, algorithm, seed = _names(folder, config, problems)
    extension = attempt(lambda: recorded(folder), EXTENDED, problems)
    if extension is not None:
        config = {**lengthened(config, extension.total), EXTENDED_FROM: list(extension.former)}
    curve = attempt(lambda: read_curve(folder / EVALUATIONS, problems), EVALUATIONS, problems) or []
    finished = (folder / RESULTS).exists()
    results = (attempt(lambda: read_mapping(folder / RESULTS), RESULTS, problems) or {}) if finished else {}
    changed = attempt(lambda: differing(folder, results), RESULTS, problems) or []
    problems += [f"{name} was changed after the run: its checksum differs" for name in changed]
    if RESULTS in changed:
        results = {}
    policies = (attempt(lambda: read_policies(results), RESULTS, problems) or {}) if results else {}
    provenance = (
        results or attempt(lambda: read_mapping(folder / PROVENANCE), PROVENANCE, problems, optional=True) or {}
    )
    state = _state(folder, finished, bool(policies))
    if state == "failed":
        problems.append(attempt(lambda: read_failure(folder), FAILURE, problems) or "failed")
    attempt(lambda: CheckpointFolder(folder).entries(), "checkpoints", problems)
    checkpoints = attempt(lambda: CheckpointFolder(folder).known(), "checkpoints", problems) or []
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
        resumptions=tuple(entries) if isinstance(entries := results.get("resumptions"), list) else (),
        curve=tuple(curve),
        resumable=bool(checkpoints),
        policies=policies,
    )


def _names(folder: Path, config: Mapping[str, Any], problems: list[str]) -> list[str]:
    """Environment, algorithm and seed; values missing in the config come from the name of the folder, or are `?`."""
    chosen, named = mapping(config.get("run")), folder.parent.name.split("__")
    if config and not {"environment", "algorithm"} <= set(chosen):
        problems.append(f"{CONFIG} is not the config of a run: it has no run.environment and run.algorithm")
    if len(named) != 3:
        named = ["?", "?", "?"]
    return [str(chosen.get("environment", named[0])), str(chosen.get("algorithm", named[1])), named[2]]


def find_runs(paths: Iterable[Path]) -> list[Run]:
    """Find and read the runs in folders and their subfolders, each run once, sorted by folder.

    Symbolic links are followed only if they are in `paths`.

    Raises:
        UserError: if a path is no folder, cannot be read or has too many folders, or the runs do not fit into memory.
    """
    run_folders: set[Path] = set()
    visited = 0
    for path in paths:
        if not path.is_dir():
            problem = "is a file" if path.exists() else "does not exist"
            raise UserError(f"expected a folder with runs, such as outputs, got {path}, which {problem}")
        if not os.access(path, os.R_OK | os.X_OK):
            raise UserError(
                f"expected a folder with runs, such as outputs, got {path}, which you may not read or enter"
            )
        for below, folders, names in os.walk(path.resolve()):
            if _is_run(Path(below), names, folders):
                run_folders.add(Path(below))
                folders.clear()
            skipped = _SYSTEM if below == os.sep else ()
            folders[:] = [name for name in folders if not name.startswith(".") and name not in skipped]
            visited += 1
            if visited > _MAX_FOLDERS:
                raise UserError(f"{path} has more than {_MAX_FOLDERS:,} folders: name one nearer to the runs")
    _require_memory(run_folders)
    return [read_run(folder) for folder in sorted(run_folders)]


def _require_memory(run_folders: Iterable[Path]) -> None:
    """Check that the contents of the runs fit into the memory of this machine, by the sizes of their files."""
    paths = [folder / name for folder in run_folders for name in (CONFIG, EVALUATIONS, RESULTS, PROVENANCE)]
    size = sum(path.stat().st_size for path in paths if path.is_file())
    try:
        require_memory(f"the content of {len(paths) // 4:,} runs", _PARSED_SIZE * size, "name fewer runs")
    except ValueError as error:
        raise UserError(str(error)) from error


def _is_run(folder: Path, names: list[str], folders: list[str]) -> bool:
    """Recognizes a run by any file of `mipi train`, because others may be missing; excludes folders of `mipi eval`."""
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
