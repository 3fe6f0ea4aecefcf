"""The report of `mipi report`: a comparison of any set of runs, as an HTML page and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mipi_pl.reporting.differences import tables_of_differences
from mipi_pl.reporting.document import Block, Code, Heading, Notes, Paragraph, Table, write
from mipi_pl.reporting.groups import World, worlds_of
from mipi_pl.reporting.labels import is_debug
from mipi_pl.reporting.listing import wrapped
from mipi_pl.reporting.marl_eval import write_marl_eval
from mipi_pl.reporting.missing import missing_from, short
from mipi_pl.reporting.runs import Run, find_runs
from mipi_pl.reporting.sections import of_all_worlds, of_world
from mipi_pl.reporting.selection import with_labels, without
from mipi_pl.storage import provenance, run_folder
from mipi_pl.utils.errors import UserError

_MAX_RUNS = 1_000


def make_report(
    paths: Sequence[Path],
    output_dir: Path,
    title: str,
    labels: Sequence[str] = (),
    excluded: Sequence[str] = (),
    marl_eval: Path | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Read runs, compare them, and write a report.

    Args:
        paths: run folders, or folders that contain run folders at any depth.
        output_dir: folder in which to create the folder of the report, named after the current time.
        title: title of the report.
        labels: labels for runs, as WHICH=LABEL; see `mipi_pl.reporting.selection`.
        excluded: runs to leave out, as patterns.
        marl_eval: JSON file for marl-eval to write; None for none.
        say: receives each message to the user.

    Returns:
        The folder of the report.

    Raises:
        UserError: if there is no finished run or there are too many runs, a pattern matches no run, the file for
            marl-eval exists, or the report cannot be written.
    """
    if marl_eval and marl_eval.exists():
        raise UserError(f"{marl_eval} exists already; name another file: --marl-eval FILE")
    runs = with_labels(without(find_runs(paths), excluded), labels)
    if len(runs) > _MAX_RUNS:
        raise UserError(f"a report compares at most {_MAX_RUNS:,} runs, got {len(runs):,}: name fewer or other folders")
    worlds = worlds_of(runs)
    notes = missing_from(runs, worlds)
    if not worlds:
        where = ", ".join(map(str, paths))
        states = "; ".join(f"{run.folder}: {run.state}" for run in runs)
        raise UserError(
            f"no finished run in {where}" + (f" ({states})" if states else "") + "; mipi runs lists all runs"
        )
    blocks = list(blocks_of(title, runs, worlds, notes))
    try:
        folder = run_folder.new_folder(output_dir)
        write(folder, blocks)
    except OSError as error:
        raise UserError(f"cannot write to {output_dir} ({error.strerror}); name another: --output-dir") from error
    for note in notes:
        say(wrapped(f"note: {note}"))
    say(f"page       {run_folder.shown(folder / 'report.html')}")
    say(f"markdown   {run_folder.shown(folder / 'report.md')}")
    for note in _exported(marl_eval, worlds):
        say(wrapped(f"note: {note}"))
    if marl_eval:
        say(f"marl-eval  {run_folder.shown(marl_eval)}")
    return folder


def _exported(path: Path | None, worlds: Sequence[World]) -> list[str]:
    if path is None:
        return []
    try:
        return write_marl_eval(path, worlds)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); name another file: --marl-eval") from error


def blocks_of(title: str, runs: Sequence[Run], worlds: Sequence[World], notes: Sequence[str]) -> Iterator[Block]:
    """Yield all blocks of the report."""
    yield Heading(1, title)
    finished = sum(len(world.runs) for world in worlds)
    yield Paragraph(f"Compares {finished} finished runs of {len(runs)} found. Created with:")
    yield Code([_at(provenance.command(), provenance.commit())])
    yield Heading(2, "What to know first")
    yield Notes(notes or ["nothing is missing: the checks of this report found no problem"])
    yield from tables_of_differences([world.of for world in worlds], [world.label for world in worlds])
    names: set[str] = set()
    for world in worlds:
        name = re.sub(r"\W+", "_", world.label, flags=re.ASCII).strip("_")[:60] or "world"
        while name in names:
            name += "_"
        names.add(name)
        yield from of_world(world, name)
    yield from of_all_worlds(worlds)
    yield from _runs(runs, worlds)


def _runs(runs: Sequence[Run], worlds: Sequence[World]) -> Iterator[Block]:
    labels = {
        run.folder: f"{world.label}: {group.label}"
        for world in worlds
        for group in world.groups
        for run in group.of.runs
    }
    yield Heading(2, "Runs")
    yield Table(
        ["run", "label", "state", "seed", "frames", "of", "updates", "hours", "commit"],
        [
            [
                f"{run.folder.parent.name}/{run.folder.name}",
                labels.get(run.folder, "-"),
                f"{run.state}, debug" if is_debug(run) else run.state,
                "?" if run.seed is None else str(run.seed),
                f"{run.frames:,}",
                f"{run.budget:,}" if run.budget else "?",
                f"{run.updates:,}",
                "?" if run.seconds is None else f"{run.seconds / 3600:.2f}",
                short(run.commit or "unknown"),
            ]
            for run in runs
        ],
        is_text=True,
    )
    yield Paragraph("Commands of the runs:")
    yield Code([_at(run.command or f"unknown ({run.folder})", run.commit) for run in runs])


def _at(command: str, commit: str | None) -> str:
    return f"{command}  # commit {commit or 'unknown'}"
