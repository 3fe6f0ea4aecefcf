"""What is still to be done of a plan, and doing it on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from mipi_pl.reporting.run_folder import Run, find_runs
from mipi_pl.reproduction.plan import Job

# The command `mipi` without its script, which may be anywhere; and a folder `models` where we are called is not ours.
_PROGRAM = (
    "import sys; sys.path[:] = [path for path in sys.path if path]; sys.argv[0] = 'mipi'; "
    "from mipi_pl.cli import main; sys.exit(main())"
)


@dataclass(frozen=True)
class Task:
    """A command that a job still needs.

    Attributes:
        name: of the job, for messages.
        words: behind `mipi`.
        log: what the command prints is added to it.
    """

    name: str
    words: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class Outlook:
    """A job and the run that counts for it.

    Attributes:
        job: of the plan.
        step: ``done``, ``running`` (elsewhere), ``failed``, ``resume`` or ``start``.
        run: the finished one, or the newest; None where there is none.
    """

    job: Job
    step: str
    run: Run | None


def look(jobs: Sequence[Job], retry: bool = False) -> list[Outlook]:
    """How far each job is.

    Args:
        jobs: of a plan.
        retry: go on with failed runs too.
    """
    runs = {folder: find_runs([folder]) if folder.is_dir() else [] for folder in {job.folder for job in jobs}}
    return [_outlook(job, [run for run in runs[job.folder] if run.seed == job.seed], retry) for job in jobs]


def _outlook(job: Job, runs: list[Run], retry: bool) -> Outlook:
    runs.sort(key=lambda run: run.folder.name)
    for state, step in (("finished", "done"), ("running", "running")):
        if of_state := [run for run in runs if run.state == state]:
            return Outlook(job, step, of_state[-1])
    newest = runs[-1] if runs else None
    if newest is None or newest.state == "damaged":
        return Outlook(job, "start", newest)
    if newest.state == "failed" and not retry:
        return Outlook(job, "failed", newest)
    return Outlook(job, "resume" if newest.resumable else "start", newest)


def task_of(outlook: Outlook, threads: int) -> Task | None:
    """The command for the next step; None if there is none."""
    job = outlook.job
    log = job.folder / f"seed_{job.seed}.log"
    if outlook.step == "start":
        where = (f"seed={job.seed}", f"output_dir={job.folder}")
        return Task(job.name, ("train", f"threads={threads}", *job.overrides, *where), log)
    if outlook.step == "resume" and outlook.run is not None:
        return Task(job.name, ("resume", str(outlook.run.folder)), log)
    return None


def start(task: Task) -> subprocess.Popen[bytes]:
    """Start the command in a process of its own."""
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with task.log.open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", _PROGRAM, *task.words], stdout=log, stderr=log)


def run_here(tasks: Sequence[Task], at_once: int, say: Callable[[str], None]) -> None:
    """Run all tasks, some at once. What becomes of each is in its folder; a failure does not keep the others.

    Raises:
        KeyboardInterrupt: on Ctrl-C or a request to terminate, when the commands that were under way have ended.
    """
    running: set[subprocess.Popen[bytes]] = set()
    guard, stopped = Lock(), False

    def one(number: int, task: Task) -> None:
        with guard:
            if stopped:
                return
            process = start(task)
            running.add(process)
            say(f"[{number}/{len(tasks)}] {task.name}: {task.words[0]}, log {task.log}")
        code = process.wait()
        with guard:
            running.discard(process)
            ended = "ended" if code == 0 else f"ended with exit code {code}: {last_line(task.log)}"
            say(f"[{number}/{len(tasks)}] {task.name}: {ended}")

    def terminate(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    pool = ThreadPoolExecutor(at_once)
    try:
        for future in [pool.submit(one, number, task) for number, task in enumerate(tasks, start=1)]:
            future.result()
    except KeyboardInterrupt:
        stopped = True
        with guard:
            for process in running:  # they write a checkpoint; a terminal has told them already, which does no harm
                with suppress(OSError):
                    process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        signal.signal(signal.SIGTERM, before)


def last_line(log: Path) -> str:
    """What a command said last."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return "no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def threads_for(at_once: int) -> int:
    """Processor threads for each of so many runs."""
    return max(1, (os.cpu_count() or 1) // at_once)
