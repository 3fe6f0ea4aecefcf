"""A run folder as it is found: finished or not, whole or damaged. Reading one never fails; it says what is amiss."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.reporting.tallies import Played, Tally, read_policy, read_tally
from mipi_pl.storage.checkpoints import CheckpointFolder
from mipi_pl.storage.files import DamagedError
from mipi_pl.storage.lock import in_use
from mipi_pl.storage.run_folder import CONFIG, EVALUATIONS, FAILURE, PROVENANCE, RESULTS
from mipi_pl.utils.errors import UserError

_TIME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(-\d+)?")  # `record.new_folder`
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # both safe, the first quick

STATES = ("running", "finished", "interrupted", "failed", "damaged")
"""Damaged: a finished run whose results cannot be read."""


@dataclass(frozen=True)
class Point:
    """One evaluation on the learning curve."""

    frames: int
    evaluation: str
    tally: Tally


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
        return _whole(self.config.get("total_frames"))

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
    config = _mapping(_attempt(lambda: _yaml(folder / CONFIG), CONFIG, problems) or {})
    chosen = _mapping(config.get("run"))
    named = folder.parent.name.split("__")
    if config and not {"environment", "algorithm"} <= set(chosen):
        problems.append(f"{CONFIG} is not that of a run: it names no environment and algorithm under `run`")
    if len(named) != 3:
        named = ["?", "?", "?"]
    curve = _attempt(lambda: _curve(folder / EVALUATIONS, problems), EVALUATIONS, problems) or []
    finished = (folder / RESULTS).exists()
    results = _mapping(_attempt(lambda: _json(folder / RESULTS), RESULTS, problems)) if finished else {}
    policies = (_attempt(lambda: _policies(results), RESULTS, problems) or {}) if results else {}
    provenance = results or _mapping(_attempt(lambda: _json(folder / PROVENANCE), PROVENANCE, problems, optional=True))
    state = _state(folder, finished, bool(policies))
    if state == "failed":
        problems.append(_attempt(lambda: _failure(folder), FAILURE, problems) or "failed")
    checkpoints = _attempt(lambda: CheckpointFolder(folder).entries(), "checkpoints", problems) or []
    logged = _attempt(lambda: _logged_frames(folder / "metrics.csv"), "metrics.csv", problems, optional=True) or 0
    reached = [logged, *(point.frames for point in curve), *(entry.frames for entry in checkpoints)]
    seconds = results.get("seconds")
    return Run(
        folder,
        state,
        tuple(problems),
        str(chosen.get("environment", named[0])),
        str(chosen.get("algorithm", named[1])),
        _whole(config.get("seed", results.get("seed", named[2]))),
        config,
        _whole(results.get("frames")) or max(reached),
        _whole(results.get("updates")) or 0,
        _number(seconds),
        {key: provenance[key] for key in ("command", "commit", "versions", "machine") if key in provenance},
        tuple(sorted(curve, key=lambda point: point.frames)),
        bool(checkpoints),
        policies,
    )


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


def _policies(results: Mapping[str, Any]) -> dict[str, dict[str, Played]]:
    found = {"trained": read_policy(results), "untrained": read_policy(results.get("before"))}
    return {**found, **{name: read_policy(node) for name, node in _mapping(results.get("scripted")).items()}}


def _curve(path: Path, problems: list[str]) -> list[Point]:
    found, refused = [], []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            if row.get("level") not in ("all", "size", "composition"):
                refused.append(f"line {number}: level is {row.get('level')!r}")
            elif row["level"] == "all":
                try:
                    found.append(Point(int(row["frames"]), row["evaluation"], read_tally(row)))
                except (ValueError, KeyError, TypeError) as error:
                    refused.append(f"line {number}: {error}")
    if refused:
        problems.append(f"{EVALUATIONS}: {len(refused)} rows cannot be read and are left out ({refused[0]})")
    return found


def _logged_frames(path: Path) -> int:
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return max((_whole(row["frames"]) or 0 for row in csv.DictReader(file) if row.get("frames")), default=0)


def _failure(folder: Path) -> str:
    lines = (folder / FAILURE).read_text(encoding="utf-8", errors="replace").splitlines()
    return f"failed: {lines[-1]}" if lines else "failed"


def _attempt(read: Any, name: str, problems: list[str], optional: bool = False) -> Any:
    """What `read` gives, or None and a line on why not."""
    try:
        return read()
    except FileNotFoundError:
        if not optional:
            problems.append(f"{name} is missing")
    except (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError, csv.Error, DamagedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        problems.append(f"{name} is damaged or not ours ({reason})")
    return None


def _yaml(path: Path) -> dict[str, Any]:
    found = yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    if not isinstance(found, dict):
        raise ValueError(f"expected a mapping, got {type(found).__name__}")
    return found


def _json(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"expected a mapping, got {type(found).__name__}")
    return found


def _mapping(node: object) -> dict[str, Any]:
    return {str(key): value for key, value in node.items()} if isinstance(node, Mapping) else {}


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, (int, float)) else None
    except OverflowError:  # JSON knows no largest integer
        return None


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return int(float(value))  # metrics.csv has frames with a decimal point
    except (ValueError, OverflowError):
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
