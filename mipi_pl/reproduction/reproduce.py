"""Command `mipi reproduce`: runs what is missing of a table or figure and compares it with the paper."""

from __future__ import annotations

import csv
import io
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mipi_pl.reporting.document import Block, Code, Heading, Notes, Paragraph, Table, write
from mipi_pl.reporting.groups import worlds_of
from mipi_pl.reporting.listing import wrapped
from mipi_pl.reporting.missing import missing_from
from mipi_pl.reporting.report import blocks_of
from mipi_pl.reproduction import comparison
from mipi_pl.reproduction.launchers import run_through
from mipi_pl.reproduction.plan import Plan, make_plan
from mipi_pl.reproduction.tasks import Task, run_here, threads_for
from mipi_pl.reproduction.work import Outlook, look, task_of
from mipi_pl.run.compose import compose
from mipi_pl.run.config import check_seed, check_train, resolve
from mipi_pl.storage import run_folder
from mipi_pl.storage.files import replacing
from mipi_pl.utils.errors import FailedError, UserError


@dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        target: table, figure or ablations, one of `plan.TARGETS`.
        scale: size of the runs, one of `plan.SCALES`.
        output_dir: folder for runs and reports.
        seeds: seeds to use instead of those of the scale.
        tasks: tasks of the plan to include; None for all.
        methods: methods of the plan to include; None for all.
        jobs: number of simultaneous runs.
        launcher: Hydra launcher, one of `launchers.LAUNCHERS`; None runs the tasks on this machine without one.
        launcher_options: options of the launcher, ``key=value`` each.
        retry_failed: also resume failed runs.
        dry_run: only print the commands.
        overrides: ``key=value`` overrides for all runs.
    """

    target: str
    scale: str
    output_dir: Path
    seeds: Sequence[int] | None = None
    tasks: Sequence[str] | None = None
    methods: Sequence[str] | None = None
    jobs: int = 1
    launcher: str | None = None
    launcher_options: Sequence[str] = field(default_factory=tuple)
    retry_failed: bool = False
    dry_run: bool = False
    overrides: Sequence[str] = field(default_factory=tuple)


def reproduce(
    options: Options,
    say: Callable[[str], None] = print,
    run: Callable[[Sequence[Task], int, Callable[[str], None]], None] = run_here,
) -> Path | None:
    """Start or resume the unfinished runs of a table or figure and compare all finished ones with the paper.

    Args:
        options: options of the command.
        say: prints a message to the user.
        run: runs the tasks if no launcher is chosen.

    Returns:
        The folder of tables and page; None for a dry run.

    Raises:
        UserError: if an option or the config of a run is invalid.
        FailedError: if runs are unfinished afterwards; the finished ones have been compared then.
    """
    _check(options)
    plan = make_plan(
        options.target,
        options.scale,
        options.output_dir.resolve(),
        options.seeds,
        options.overrides,
        options.tasks,
        options.methods,
    )
    if not plan.jobs:
        raise UserError(f"{options.target} has no run of these methods on these tasks; change --methods or --tasks")
    if options.overrides:
        _check_configs(plan)
    outlooks = look(plan.jobs, options.retry_failed)
    threads = threads_for(options.jobs)
    tasks = [task for outlook in outlooks if (task := task_of(outlook, threads, options.retry_failed))]
    say(f"{plan.title}\n{wrapped(plan.note)}\n")
    counts = Counter(outlook.step for outlook in outlooks)
    words = {
        "done": "done",
        "running": "running elsewhere",
        "failed": "failed",
        "resume": "to resume",
        "start": "to start",
    }
    say(
        f"{len(plan.jobs)} runs: " + ", ".join(f"{counts[step]} {word}" for step, word in words.items() if counts[step])
    )
    if options.dry_run:
        for task in tasks:
            say(shlex.join(["mipi", *task.words]))
        return None
    with _writing_to(options.output_dir):
        if tasks and options.launcher:
            folder = options.output_dir / options.scale
            run_through(options.launcher, tasks, options.jobs, options.launcher_options, folder)
        elif tasks:
            run(tasks, options.jobs, say)
    outlooks = look(plan.jobs)
    folder = _compare(plan, outlooks, options, say)
    _raise_if_unfinished(outlooks)
    return folder


def _check(options: Options) -> None:
    """Raise a UserError if an option has an impossible value or no effect, or an override has no value."""
    if options.jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {options.jobs}")
    for seed in options.seeds or ():
        check_seed(seed, "--seeds")
    if options.launcher_options and options.launcher is None:
        given = " ".join(options.launcher_options)
        raise UserError(f"--launcher-options {given} has no effect without --launcher; add --launcher NAME")
    for word in options.overrides:
        if "=" not in word:
            raise UserError(f"expected key=value, as for mipi train, got {word!r}")


def _check_configs(plan: Plan) -> None:
    """Raise a UserError if the config of a method on a task is invalid, before any run starts."""
    for (task, method), overrides in {(job.task, job.method): job.overrides for job in plan.jobs}.items():
        try:
            check_train(resolve(compose(overrides)))
        except UserError as error:
            raise UserError(f"{task}, {method}: {error}") from error


def _compare(plan: Plan, outlooks: Sequence[Outlook], options: Options, say: Callable[[str], None]) -> Path:
    ours = comparison.ours_of(plan, outlooks)
    say(f"\n{comparison.as_text(plan, ours)}\n")
    paper_note = "; paper: five seeds, the game itself" if plan.paper else ""
    say(wrapped(f"ours: mean and standard deviation over seeds, of the last policy{paper_note}"))
    notes = comparison.notes_on_settings(outlooks)
    for note in notes:
        say(wrapped(note))
    runs = list({outlook.run.folder: outlook.run for outlook in outlooks if outlook.run is not None}.values())
    worlds = worlds_of(runs)
    rows, order = comparison.rows_of(plan, ours), comparison.order_of(plan, ours)
    blocks: list[Block] = [
        Heading(1, plan.title),
        Paragraph(plan.note),
        Table(comparison.HEADER, rows),
        *([Table(comparison.ORDER_HEADER, order)] if order else []),
        *([Notes(notes)] if notes else []),
        *list(blocks_of("The runs", runs, worlds, missing_from(runs, worlds)))[1:],
        Heading(2, "Commands of the plan"),
        Code([shlex.join(["mipi", "train", *job.overrides, f"seed={job.seed}"]) for job in plan.jobs]),
    ]
    table = io.StringIO()
    csv.writer(table).writerows(comparison.raw_rows(plan, ours))
    with _writing_to(options.output_dir):
        folder = run_folder.new_folder(options.output_dir / options.scale / "reports" / plan.name)
        write(folder, blocks)
        with replacing(folder / "comparison.csv") as unfinished:
            unfinished.write_text(table.getvalue(), encoding="utf-8")
    say(f"page       {run_folder.shown(folder / 'report.html')}")
    say(f"numbers    {run_folder.shown(folder / 'comparison.csv')}")
    return folder


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"--output-dir: cannot write to {folder} ({error.strerror or error})") from error


def _raise_if_unfinished(outlooks: Sequence[Outlook]) -> None:
    """Raise a FailedError if a run is neither finished nor running elsewhere."""
    unfinished = [outlook for outlook in outlooks if outlook.step not in ("done", "running")]
    if unfinished:
        first = unfinished[0]
        why = (first.run.problems[-1] if first.run.problems else first.run.state) if first.run else "did not start"
        raise FailedError(
            f"{len(unfinished)} of {len(outlooks)} runs are not finished; the first: {first.job.name}: {why}; its log "
            f"is {first.job.folder / f'seed_{first.job.seed}.log'}. Run the same command again to continue; add "
            "--retry-failed to resume failed runs too"
        )
