"""Tasks that run a `mipi` command in a separate process.

A launcher's processes import only this module, so its imports are few and cheap.
"""

from __future__ import annotations

import json
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

from mipi_pl.utils.cores import usable_cores

# Runs `mipi` without its script, whose location is unknown. The current folder is removed from the path, because a file
# in it may have the name of a library.
_PROGRAM = (
    "import sys; sys.path[:] = [path for path in sys.path if path]; sys.argv[0] = 'mipi'; "
    "from mipi_pl.cli import main; sys.exit(main())"
)


@dataclass(frozen=True)
class Task:
    """A command that a job still needs.

    Attributes:
        name: name of the job, for messages.
        words: arguments of `mipi`.
        log: file to which the command's output is appended.
        is_due: whether the command is still needed; another one may have taken over or finished its run.
    """

    name: str
    words: tuple[str, ...]
    log: Path
    is_due: Callable[[], bool] = lambda: True


def start(task: Task) -> subprocess.Popen[bytes]:
    """Start the command in a separate process."""
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with task.log.open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", _PROGRAM, *task.words], stdout=log, stderr=log)


def perform(config: Any) -> int:
    """Run one task in a launcher's process and return its exit code.

    Args:
        config: Hydra config with ``tasks``, the path of the list of tasks, and ``task``, the index in it.
    """
    entry: Mapping[str, str] = json.loads(Path(config.tasks).read_text(encoding="utf-8"))["tasks"][config.task]
    return start(Task(entry["name"], tuple(entry["words"]), Path(entry["log"]))).wait()


def run_here(tasks: Sequence[Task], at_once: int, say: Callable[[str], None]) -> None:
    """Run all tasks that are due on this machine; a failure does not stop the others.

    Their results are in their run folders.

    Args:
        tasks: tasks to run.
        at_once: number of simultaneous tasks.
        say: prints a message to the user.

    Raises:
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the running commands have ended.
    """
    running: set[subprocess.Popen[bytes]] = set()
    guard, stopped = Lock(), False

    def run_one(number: int, task: Task) -> None:
        with guard:
            if stopped:
                return
            if not task.is_due():
                say(f"[{number}/{len(tasks)}] {task.name}: done or being done by another command")
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
        for future in [pool.submit(run_one, number, task) for number, task in enumerate(tasks, start=1)]:
            future.result()
    except KeyboardInterrupt:
        stopped = True
        with guard:
            # They write a checkpoint. After Ctrl-C the terminal has signalled them too; a second signal is harmless.
            for process in running:
                with suppress(OSError):
                    process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        signal.signal(signal.SIGTERM, before)


def last_line(log: Path) -> str:
    """Return the last line that a command printed."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return "no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


def threads_for(at_once: int) -> int:
    """Return the number of processor threads for each of `at_once` simultaneous runs."""
    return max(1, usable_cores() // at_once)
