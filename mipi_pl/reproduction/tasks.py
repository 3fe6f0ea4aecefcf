"""Tasks that run a `mipi` command in a separate process.

A launcher's processes import only this module, so its imports are few and cheap.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from filelock import FileLock, Timeout

from mipi_pl.storage.files import write_json
from mipi_pl.utils.cores import usable_cores

# Runs `mipi` without its script, whose location is unknown. The current folder is removed from the path, because a file
# in it may have the name of a library.
_PROGRAM = (
    "import sys; sys.path[:] = [path for path in sys.path if path]; sys.argv[0] = 'mipi'; "
    "from mipi_pl.cli import main; sys.exit(main())"
)
_LOOK_EVERY_S = 0.5
"""Seconds between two looks at a running task and at signals."""


@dataclass(frozen=True)
class Task:
    """A command that a job still needs.

    Attributes:
        name: name of the job, for messages.
        words: arguments of `mipi`.
        log: file to which the command's output is appended.
        state: arguments of `mipi_pl.reproduction.work.is_due`; empty if the command is always due.
    """

    name: str
    words: tuple[str, ...]
    log: Path
    state: Mapping[str, Any] = field(default_factory=dict)

    def is_due(self) -> bool:
        """Return whether the run is still in the state for which the command was chosen."""
        if not self.state:
            return True
        from mipi_pl.reproduction.work import is_due  # which imports much more than this module

        return is_due(**self.state)


@contextmanager
def claimed(task: Task) -> Iterator[bool]:
    """Keep other commands from starting the same task during the block.

    Yields:
        Whether it is this command's: False if another one has it, or has changed the state of its run.
    """
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(FileLock(task.log.with_suffix(".lock"), blocking=False))
        except Timeout:
            yield False
        else:
            yield task.is_due()


def start(task: Task) -> subprocess.Popen[bytes]:
    """Start the command of a `claimed` task in a separate process."""
    with task.log.open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", _PROGRAM, *task.words], stdout=log, stderr=log)


def write_tasks(path: Path, tasks: Sequence[Task]) -> None:
    """Write the list of tasks that `perform` reads.

    Raises:
        OSError: if the file cannot be written.
    """
    listed = [
        {"name": task.name, "words": task.words, "log": str(task.log.resolve()), "state": task.state} for task in tasks
    ]
    write_json(path, {"tasks": listed})


def perform(config: Any) -> int:
    """Run one task in a launcher's process and return its exit code.

    Args:
        config: Hydra config with ``tasks``, the path of the list of tasks, and ``task``, the index in it.
    """
    entry: Mapping[str, Any] = json.loads(Path(config.tasks).read_text(encoding="utf-8"))["tasks"][config.task]
    task = Task(entry["name"], tuple(entry["words"]), Path(entry["log"]), entry["state"])
    with claimed(task) as is_ours:
        return start(task).wait() if is_ours else 0


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
        place = f"[{number}/{len(tasks)}] {task.name}"
        with claimed(task) as is_ours:
            if not is_ours:
                say(f"{place}: another command has begun it meanwhile; if it is unfinished, run this command again")
                return
            with guard:
                if stopped:
                    return
                process = start(task)
                running.add(process)
                say(f"{place}: {task.words[0]}, log {task.log}")
            code = process.wait()
        with guard:
            running.discard(process)
            ended = "ended" if code == 0 else f"ended with exit code {code}: {last_line(task.log)}"
            say(f"{place}: {ended}")

    def terminate(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    pool = ThreadPoolExecutor(at_once)
    try:
        for future in [pool.submit(run_one, number, task) for number, task in enumerate(tasks, start=1)]:
            # A signal that arrives just before a wait without a time limit would be handled only after the task.
            while not wait([future], timeout=_LOOK_EVERY_S).done:
                pass
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
