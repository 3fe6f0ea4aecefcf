"""Commands in processes of their own. The processes of a launcher import this module alone, so it imports little."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

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


def start(task: Task) -> subprocess.Popen[bytes]:
    """Start the command in a process of its own."""
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with task.log.open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", _PROGRAM, *task.words], stdout=log, stderr=log)


def perform(config: Any) -> int:
    """Run one task of the list, a config of Hydra, in whatever process its launcher made; returns its exit code."""
    found: Mapping[str, str] = json.loads(Path(config.tasks).read_text(encoding="utf-8"))["tasks"][config.task]
    return start(Task(found["name"], tuple(found["words"]), Path(found["log"]))).wait()


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
