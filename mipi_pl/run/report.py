"""The report of a finished run: results.json, results.csv, results.png and the table in the terminal."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mipi_pl.evaluation.generalization import Result
from mipi_pl.evaluation.tables import append_csv, comparison_table, fault_notes, rows_of, write_csv
from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.logging.csv import ResumableCSVLogger
from mipi_pl.logging.hooks import call_hook
from mipi_pl.roles import callbacks_of, having
from mipi_pl.run.build import factory
from mipi_pl.run.parts import Parts
from mipi_pl.run.schema import Config
from mipi_pl.run.teams import Teams
from mipi_pl.storage import checksums, run_folder
from mipi_pl.utils.errors import first_line

_NOT_WRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
"""Reasons why no file can be written: the run waits for room or permission."""
_FILES = (("picture", "results.png"), ("numbers", "results.json"), ("checkpoint", "checkpoints/last.ckpt"))


@dataclass(frozen=True)
class Outcome:
    """The outcome of a finished run.

    Attributes:
        config: config of the run.
        folder: run folder.
        parts: objects of the run, after training.
        teams: compositions of training and of the evaluations.
        policies: results by policy: the trained policy, the untrained policy and the scripted policies, in this order.
        counts: ``cut_short``, the number of episodes ended by environment faults, and ``seconds``,
            ``seconds_training`` and ``processor_seconds`` of the whole run.
    """

    config: Config
    folder: Path
    parts: Parts
    teams: Teams
    policies: Mapping[str, Sequence[Result]]
    counts: Mapping[str, float]


def title(config: Config) -> str:
    """Return one line that names algorithm, environment and seed."""
    return f"{config['run']['algorithm']} on {config['run']['environment']}, seed {config['seed']}"


def write_evaluation(folder: Path, frames: int, updates: int, results: Sequence[Result]) -> None:
    """Append greedy results to evaluations.csv.

    Raises:
        OSError: if the file cannot be written.
    """
    head = {"frames": frames, "updates": updates}
    append_csv(folder / run_folder.EVALUATIONS, [{**head, **row} for row in rows_of("greedy", results)])


def write_report(outcome: Outcome, say: Callable[[str], None]) -> list[str]:
    """Write the files of the report, each if it can be written.

    results.json is written last, and only if all other files of the run are complete, because a run with this file
    counts as finished. A picture that its function cannot draw is not waited for: it would fail again.

    Args:
        outcome: outcome of the run.
        say: prints a message to the user.

    Returns:
        The files that could not be written, with the reason; empty if the run is finished.
    """
    folder, parts, policies = outcome.folder, outcome.parts, outcome.policies
    rows = [row for name, results in policies.items() for row in rows_of(name, results)]
    frames, updates = parts.datamodule.frames, parts.algorithm.updates
    writers: dict[str, Callable[[], object]] = {
        run_folder.EVALUATIONS: lambda: write_evaluation(folder, frames, updates, policies["trained"]),
        "metrics.csv": lambda: [log.content() for log in parts.trainer.loggers if isinstance(log, ResumableCSVLogger)],
        "results.csv": lambda: write_csv(folder / "results.csv", rows),
        "results.png": lambda: _draw(outcome, say),
    }
    failures = {name: _attempt(name, write) for name, write in writers.items()}
    owed = [name for name in _files_of(parts, "owed_files") if not failures.get(name)]
    missing = [*owed, *(message for messages in failures.values() for message in messages)]
    if missing:
        return [*missing, run_folder.RESULTS]
    call_hook(parts.trainer.loggers, "log_finished", scores_of(policies["trained"]))
    return _attempt(run_folder.RESULTS, lambda: checksums.write_results(folder, _content(outcome)))


def _draw(outcome: Outcome, say: Callable[[str], None]) -> None:
    """Draw the picture, or say why its function, which may be the user's own, cannot draw it."""
    folder = outcome.folder
    try:
        draw = factory("picture", outcome.config["picture"])
        draw(folder / "results.png", title(outcome.config), folder / run_folder.EVALUATIONS, outcome.policies)
    except Exception as error:  # whatever is wrong with a picture, the results of a run are kept
        if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
            raise
        say(f"picture: not drawn, {type(error).__name__}: {first_line(error)}")


def _attempt(name: str, write: Callable[[], object]) -> list[str]:
    """Return an empty list, or the name of the file with the reason if it cannot be written."""
    try:
        write()
    except OSError as error:
        return [f"{name} ({error.strerror or error})"]
    return []


def lost_files(parts: Parts) -> list[str]:
    """Return the files that could not be written during training and that the end of the run does not need."""
    return _files_of(parts, "lost_files")


def listed(names: Sequence[str]) -> str:
    """Return names separated by commas; of more than four, the first and the last two and their number."""
    if len(names) > 4:
        names = [*names[:2], "...", *names[-2:], f"{len(names)} in all"]
    return ", ".join(names)


def _files_of(parts: Parts, kind: Literal["owed_files", "lost_files"]) -> list[str]:
    return [name for callback in having(callbacks_of(parts.trainer), kind) for name in getattr(callback, kind)]


def _content(outcome: Outcome) -> dict[str, Any]:
    """Return the content of results.json."""
    parts = outcome.parts
    trained, untrained, *scripted = outcome.policies
    return {
        **as_json(outcome.policies[trained]),
        "before": as_json(outcome.policies[untrained]),
        "scripted": {name: as_json(outcome.policies[name]) for name in scripted},
        "frames": parts.datamodule.frames,
        "updates": parts.algorithm.updates,
        **outcome.counts,
        "compositions": outcome.teams.as_json(),
        "seed": outcome.config["seed"],
        "resumed_at": parts.state.resumed_at,
        "resumptions": parts.state.resumptions,
        "resumed_exactly": parts.resumes_exactly or not parts.state.resumed_at,
        **parts.state.provenance,
    }


def say_report(outcome: Outcome, missing: Sequence[str], say: Callable[[str], None]) -> None:
    """Print the table, the counts and the paths of the files; `missing` are those that `write_report` returned."""
    parts, counts = outcome.parts, outcome.counts
    say(f"\n{comparison_table(outcome.policies)}\n")
    measure = outcome.policies["trained"][0].total.measure
    say(f"greedy policy of the last update; other columns: {measure}s of other policies in the same worlds")
    for note in fault_notes(outcome.policies):
        say(note)
    minutes, busy = (counts[key] / 60 for key in ("seconds", "processor_seconds"))
    done = f"{parts.datamodule.frames:,} frames, {parts.algorithm.updates:,} updates"
    say(f"{done}, {minutes:.1f} minutes, {busy:.1f} processor minutes")
    if cut_short := counts["cut_short"]:
        say(f"episodes cut short by faults of the world: {cut_short:,}")
    for label, name in _FILES:
        if (outcome.folder / name).exists():
            say(f"{label:<10} {run_folder.shown(outcome.folder / name)}")
    if lost := lost_files(parts):
        rest = "" if missing else "; the results and the last checkpoint are complete"
        say(f"not written during training: {listed(lost)}{rest}")


def scores_of(results: Sequence[Result]) -> dict[str, float]:
    """Flatten results for a logger, with keys such as ``win_rate_6`` and ``return_training``."""
    return {f"{key}_{result.name}": float(value) for result in results for key, value in result.total.as_dict().items()}


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Return results in the format of results.json: the training teams, and the other evaluations by name."""
    named = {result.name: result.as_dict() for result in results}
    training = {TRAINING: named.pop(TRAINING)} if TRAINING in named else {}
    return {**training, "held_out": named}
