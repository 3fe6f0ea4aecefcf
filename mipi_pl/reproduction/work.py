"""State of a plan's jobs and the commands that they still need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mipi_pl.reporting.runs import Run, find_runs
from mipi_pl.reproduction.plan import Job
from mipi_pl.reproduction.tasks import Task
from mipi_pl.run import own_folder
from mipi_pl.run.overrides import as_words


@dataclass(frozen=True)
class Outlook:
    """A job, its next step, and the run that counts for it.

    Attributes:
        job: job of the plan.
        step: ``done``, ``running`` (elsewhere), ``failed``, ``resume`` or ``start``.
        run: the finished run, or else the newest one; None if there is none.
    """

    job: Job
    step: str
    run: Run | None


def look(jobs: Sequence[Job], retry: bool = False) -> list[Outlook]:
    """Return the state of each job.

    Args:
        jobs: jobs of a plan.
        retry: whether failed runs are to be resumed.
    """
    runs = {folder: find_runs([folder]) if folder.is_dir() else [] for folder in {job.folder for job in jobs}}
    return [_outlook(job, [run for run in runs[job.folder] if run.seed == job.seed], retry) for job in jobs]


def _outlook(job: Job, runs: list[Run], retry: bool) -> Outlook:
    runs.sort(key=lambda run: run.folder.name)
    for state, step in (("finished", "done"), ("running", "running")):
        if candidates := [run for run in runs if run.state == state]:
            return Outlook(job, step, max(candidates, key=lambda run: run.precedence))
    newest = runs[-1] if runs else None
    if newest is None or newest.state == "damaged":
        return Outlook(job, "start", newest)
    if newest.state == "failed" and not retry:
        return Outlook(job, "failed", newest)
    return Outlook(job, "resume" if newest.resumable else "start", newest)


def task_of(outlook: Outlook, threads: int, retry: bool = False) -> Task | None:
    """Return the task for the next step; None if nothing is to be run.

    Args:
        outlook: state of the job.
        threads: processor threads of a run.
        retry: whether failed runs are to be resumed.

    Raises:
        UserError: if the job names a folder of the user's own modules that does not exist.
    """
    job = outlook.job
    state = {"folder": str(job.folder), "seed": job.seed, "step": outlook.step, "retry": retry}
    log = job.folder / f"seed_{job.seed}.log"
    if outlook.step == "start":
        own = (f"seed={job.seed}", *as_words([{"output_dir": job.folder}]))
        return Task(job.name, ("train", f"threads={threads}", *job.overrides, *own), log, state)
    if outlook.step == "resume" and outlook.run is not None:
        named = own_folder.as_flag(own_folder.split(job.overrides)[0])
        return Task(job.name, ("resume", str(outlook.run.folder), *named), log, state)
    return None


def is_due(folder: str, seed: int, step: str, retry: bool) -> bool:
    """Return whether the next step of a job is still the one that its task was made for.

    Args:
        folder: folder of the job.
        seed: seed of the job.
        step: next step when the task was made.
        retry: whether failed runs are to be resumed.
    """
    (now,) = look([Job("", "", seed, (), Path(folder))], retry)
    return now.step == step
