"""Fault-tolerant reading of the files of a run folder: unreadable content becomes a description of the problem."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from mipi_pl.reporting.tallies import Played, Tally, read_policy, read_tally
from mipi_pl.storage.files import DamagedError
from mipi_pl.storage.run_folder import EVALUATIONS, FAILURE

T = TypeVar("T")

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # both are safe, CSafeLoader is faster
_DAMAGE = (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError, csv.Error, DamagedError)


@dataclass(frozen=True)
class Point:
    """One evaluation on the learning curve.

    Attributes:
        frames: environment steps collected so far.
        evaluation: name of the evaluation.
        tally: score of all its episodes.
    """

    frames: int
    evaluation: str
    tally: Tally


def attempt(read: Callable[[], T], name: str, problems: list[str], optional: bool = False) -> T | None:
    """Return the result of `read`; None if the file is missing or damaged.

    Args:
        read: function that reads the file.
        name: name of the file, for the description of the problem.
        problems: list that receives a description of the problem.
        optional: whether a missing file is not a problem.
    """
    try:
        return read()
    except FileNotFoundError:
        if not optional:
            problems.append(f"{name} is missing")
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        problems.append(f"{name} is damaged or was not written by mipi ({reason})")
    return None


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a mapping from a YAML or JSON file.

    Raises:
        ValueError: if the content is not a mapping.
    """
    content = path.read_text(encoding="utf-8")
    parsed = json.loads(content) if path.suffix == ".json" else yaml.load(content, _LOADER)
    if not isinstance(parsed, dict):
        raise ValueError(f"expected a mapping, got {type(parsed).__name__}")
    return mapping(parsed)


def read_policies(results: Mapping[str, Any]) -> dict[str, dict[str, Played]]:
    """Return the final evaluations of each policy in the content of results.json.

    Raises:
        ValueError: if the content does not have the structure that `mipi train` writes.
    """
    policies = {"trained": read_policy(results), "untrained": read_policy(results.get("before"))}
    return {**policies, **{name: read_policy(node) for name, node in mapping(results.get("scripted")).items()}}


def read_curve(path: Path, problems: list[str]) -> list[Point]:
    """Read the total of each evaluation in evaluations.csv; describe unreadable rows in `problems`."""
    points, refused = [], []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            if row.get("level") not in ("all", "size", "composition"):
                refused.append(f"line {line}: level is {row.get('level')!r}")
            elif row["level"] == "all":
                try:
                    points.append(Point(int(row["frames"]), row["evaluation"], read_tally(row)))
                except (ValueError, KeyError, TypeError) as error:
                    refused.append(f"line {line}: {error}")
    if refused:
        problems.append(f"{EVALUATIONS}: {len(refused)} rows cannot be read and are ignored ({refused[0]})")
    return sorted(points, key=lambda point: point.frames)


def logged_frames(path: Path) -> int:
    """Return the largest number of frames in metrics.csv; 0 if it has none."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return max((whole(row["frames"]) or 0 for row in csv.DictReader(file) if row.get("frames")), default=0)


def read_failure(folder: Path) -> str:
    """Return the last line of a failed run's error message, after ``failed:``."""
    lines = (folder / FAILURE).read_text(encoding="utf-8", errors="replace").splitlines()
    return f"failed: {lines[-1]}" if lines else "failed"


def mapping(node: object) -> dict[str, Any]:
    """Return a mapping with its keys as text; empty if `node` is not a mapping."""
    return {str(key): value for key, value in node.items()} if isinstance(node, Mapping) else {}


def number(value: object) -> float | None:
    """Return a number as a float; None if `value` is not a number or is too large."""
    try:
        return float(value) if isinstance(value, (int, float)) else None
    except OverflowError:  # JSON integers have no upper limit
        return None


def whole(value: object) -> int | None:
    """Return a number, or a text that represents one, as an integer; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return int(float(value))  # metrics.csv has frames with a decimal point
    except (ValueError, OverflowError):
        return None
