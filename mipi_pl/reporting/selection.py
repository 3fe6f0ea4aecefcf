"""Choice of runs for a report: runs that the user excludes, and labels that the user gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from mipi_pl.reporting.groups import worlds_of
from mipi_pl.reporting.labels import is_debug
from mipi_pl.reporting.runs import Run
from mipi_pl.utils.errors import UserError

_HELP = (
    "name a folder, an algorithm, an environment, a label of the report, a run such as sz__mipi__0, a state "
    "such as failed, or debug; * stands for any text"
)


def without(runs: Sequence[Run], patterns: Sequence[str]) -> list[Run]:
    """Return the runs that no pattern matches.

    Raises:
        UserError: if a pattern matches no run.
    """
    matches = _matcher(runs)
    excluded: set[Path] = set()
    for pattern in patterns:
        found = matches(pattern)
        if not found:
            raise UserError(f"--exclude {pattern} matches no run; {_HELP}")
        excluded |= found
    return [run for run in runs if run.folder not in excluded]


def with_labels(runs: Sequence[Run], labels: Sequence[str]) -> list[Run]:
    """Return the runs with labels of the user in the place of the names of their algorithms.

    Args:
        runs: runs of the report.
        labels: arguments of the form WHICH=LABEL; both may contain equals signs. A later one counts before an earlier.

    Raises:
        UserError: if an argument has another form, or WHICH matches no run.
    """
    matches = _matcher(runs)
    given: dict[Path, str] = {}
    for argument in labels:
        parts = argument.split("=")
        splits = [("=".join(parts[:place]), "=".join(parts[place:]).strip()) for place in range(1, len(parts))]
        found = next(((matched, label) for which, label in splits if label and (matched := matches(which))), None)
        if found is None:
            raise UserError(f"--label {argument} must be WHICH=LABEL and match a run; for WHICH, {_HELP}")
        given.update(dict.fromkeys(*found))
    return [replace(run, algorithm=given.get(run.folder, run.algorithm)) for run in runs]


def _matcher(runs: Sequence[Run]) -> Callable[[str], set[Path]]:
    """Return a function from a pattern to the folders of the runs that it matches."""
    names: dict[Path, set[str]] = {}
    for run in runs:
        parent, time = run.folder.parent.name, run.folder.name
        names[run.folder] = {run.environment, run.algorithm, parent, f"{parent}/{time}", time, run.state}
        names[run.folder] |= {"debug"} if is_debug(run) else set()
    for world in worlds_of(runs):
        for group in world.groups:
            for run in group.of.runs:
                names[run.folder] |= {group.label, world.label}

    def matches(pattern: str) -> set[Path]:
        folder = Path(os.path.abspath(pattern))
        inside = {path for path in names if Path(pattern).is_dir() and path.is_relative_to(folder.resolve())}
        return inside or {path for path, of_run in names.items() if _matches_any(of_run, pattern)}

    return matches


def _matches_any(names: set[str], pattern: str) -> bool:
    # A label may have brackets, which are wildcards too.
    return pattern in names or any(fnmatchcase(name, pattern.replace("[", "[[]")) for name in names)
