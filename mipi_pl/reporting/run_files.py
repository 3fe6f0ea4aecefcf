"""The files of a run folder, read with mistrust: what cannot be read becomes a line of text."""

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

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # both safe, the first quick
_DAMAGE = (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError, csv.Error, DamagedError)


@dataclass(frozen=True)
class Point:
    """One evaluation on the learning curve."""

    frames: int
    evaluation: str
    tally: Tally


def attempt(read: Callable[[], T], name: str, problems: list[str], optional: bool = False) -> T | None:
    """What `read` returns; None where the file is missing or damaged.

    Args:
        read: reads the file.
        name: of the file.
        problems: a line is added that says what is wrong.
        optional: whether the file may be missing.
    """
    try:
        return read()
    except FileNotFoundError:
        if not optional:
            problems.append(f"{name} is missing")
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        problems.append(f"{name} is damaged or not ours ({reason})")
    return None


def read_mapping(path: Path) -> dict[str, Any]:
    """A file of YAML or JSON.

    Raises:
        ValueError: if it holds something else than a mapping.
    """
    content = path.read_text(encoding="utf-8")
    found = json.loads(content) if path.suffix == ".json" else yaml.load(content, _LOADER)
    if not isinstance(found, dict):
        raise ValueError(f"expected a mapping, got {type(found).__name__}")
    return mapping(found)


def read_policies(results: Mapping[str, Any]) -> dict[str, dict[str, Played]]:
    """Each policy in results.json with its evaluations at the end.

    Raises:
        ValueError: if it is not what `mipi train` writes.
    """
    found = {"trained": read_policy(results), "untrained": read_policy(results.get("before"))}
    return {**found, **{name: read_policy(node) for name, node in mapping(results.get("scripted")).items()}}


def read_curve(path: Path, problems: list[str]) -> list[Point]:
    """The whole evaluations in evaluations.csv; a line in `problems` says how many rows cannot be read."""
    found, refused = [], []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            if row.get("level") not in ("all", "size", "composition"):
                refused.append(f"line {line}: level is {row.get('level')!r}")
            elif row["level"] == "all":
                try:
                    found.append(Point(int(row["frames"]), row["evaluation"], read_tally(row)))
                except (ValueError, KeyError, TypeError) as error:
                    refused.append(f"line {line}: {error}")
    if refused:
        problems.append(f"{EVALUATIONS}: {len(refused)} rows cannot be read and are left out ({refused[0]})")
    return sorted(found, key=lambda point: point.frames)


def logged_frames(path: Path) -> int:
    """The most frames in metrics.csv; 0 if it tells none."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return max((whole(row["frames"]) or 0 for row in csv.DictReader(file) if row.get("frames")), default=0)


def read_failure(folder: Path) -> str:
    """The last line of what a failed run says."""
    lines = (folder / FAILURE).read_text(encoding="utf-8", errors="replace").splitlines()
    return f"failed: {lines[-1]}" if lines else "failed"


def mapping(node: object) -> dict[str, Any]:
    """A mapping with keys of text; empty where it is none."""
    return {str(key): value for key, value in node.items()} if isinstance(node, Mapping) else {}


def number(value: object) -> float | None:
    """A number as a float; None where it is none."""
    try:
        return float(value) if isinstance(value, (int, float)) else None
    except OverflowError:  # JSON knows no largest integer
        return None


def whole(value: object) -> int | None:
    """A number, or a text that is one, as an integer; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return int(float(value))  # metrics.csv has frames with a decimal point
    except (ValueError, OverflowError):
        return None
