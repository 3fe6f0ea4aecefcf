"""Commands of `mipi` in forks: their processor time, how they are stopped, and how their outcomes are judged."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import re
import resource
import shlex
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

KINDS = ("ran", "refused", "failed", "long", "traceback", "hang", "other")
DEFECTS = ("traceback", "hang", "other")
MEMORY_GB = 8
"""Address space of a case: more is a MemoryError."""
MANY_FRAMES = 1000
"""Frames from which a run that has said how many it trains for may exceed the limit; ``debug=tiny`` has 20."""
_GRACE_S = 20
"""Processor seconds within which Ctrl-C must end a case."""
_IDLE_S = 180
"""Seconds without processor time, and without waiting for a processor, after which a case hangs."""
_NOTES = ("steps in all; Ctrl-C ends it", "note: one collection plays", "optimizer steps follow each")
"""Parts of the notes of `mipi_pl.run.workload`, which are given for unusual sizes only."""
_FRAMES = re.compile(r": ([\d,]+) frames, folder")


@dataclass(frozen=True)
class Limits:
    """When a case is stopped.

    Attributes:
        stated_s: processor seconds of a case that has said that it will take long.
        silent_s: processor seconds of any other case; more is a hang.
        wall_s: seconds, whatever the processors do; more is a hang.
    """

    stated_s: float = 20.0
    silent_s: float = 120.0
    wall_s: float = 3600.0


@dataclass(frozen=True)
class Outcome:
    """What became of a command.

    Attributes:
        number: number of the case.
        kind: one of `KINDS`, see benchmarks/fuzz_configs.py.
        words: the command line.
        output: the end of its stdout and stderr.
        code: exit code, or minus the number of the signal that ended it.
        seconds: processor time.
        wall_s: wall-clock time.
        commit: commit of the program; None if unknown.
    """

    number: int
    kind: str
    words: list[str]
    output: str
    code: int
    seconds: float
    wall_s: float
    commit: str | None = None

    def __str__(self) -> str:
        last = (self.output.strip().splitlines() or [""])[-1]
        return f"{self.number} {self.kind} {self.seconds:.1f} s: mipi {shlex.join(self.words)}\n      {last[:300]}"


class Case:
    """A command in a fork, in a folder of its own; the caller must have no threads.

    Args:
        number: number of the case.
        words: the command line.
        folder: new folder that it runs in.
        limits: when it is stopped.
    """

    def __init__(self, number: int, words: list[str], folder: Path, limits: Limits) -> None:
        self.number, self.words, self.folder, self.limits = number, words, folder, limits
        self._begin_s = self._active_s = time.monotonic()
        self._child = start(words, folder)
        self._stops = 0
        self._used_s = self._stopped_at_s = 0.0

    def poll(self) -> Outcome | None:
        """Return the outcome if the command has ended; stop it if it has reached a limit."""
        ended, status, usage = os.wait4(self._child, os.WNOHANG)
        if ended:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child, signal.SIGKILL)  # workers that the command left behind
            return self._outcome(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime)
        used_s, is_idle = processor(self._child)
        if used_s > self._used_s or not is_idle:
            self._used_s, self._active_s = used_s, time.monotonic()
        if self._is_due():
            self._stop()
        return None

    def kill(self) -> None:
        """End the command and what it started, without an outcome."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._child, 0)

    def _is_due(self) -> bool:
        now_s = time.monotonic()
        if self._stops:
            idle_s = now_s - self._active_s
            return self._stops < 3 and (self._used_s - self._stopped_at_s > _GRACE_S or idle_s > _IDLE_S)
        if now_s - self._active_s > _IDLE_S or now_s - self._begin_s > self.limits.wall_s:
            return True
        if self._used_s < self.limits.stated_s:
            return False
        return self._used_s > self.limits.silent_s or is_stated(self._said())

    def _stop(self) -> None:
        """Stop as a user would: Ctrl-C, Ctrl-C again, which stops within an update, and then SIGKILL."""
        self._stops += 1
        self._stopped_at_s, self._active_s = self._used_s, time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            if self._stops == 1:
                os.kill(self._child, signal.SIGUSR1)  # writes the stacks of its threads
                time.sleep(0.3)
            os.killpg(self._child, signal.SIGINT if self._stops < 3 else signal.SIGKILL)

    def _said(self) -> str:
        return "".join((self.folder / name).read_text(errors="replace") for name in ("stdout", "stderr"))

    def _outcome(self, code: int, used_s: float) -> Outcome:
        out, err = ((self.folder / name).read_text(errors="replace") for name in ("stdout", "stderr"))
        kind = judge(code, self._stops > 0, out, err)
        stack = (self.folder / "stack").read_text() if kind == "hang" else ""
        output = f"{out[-1500:]}{err[-6000:]}{stack[:3000]}"
        return Outcome(
            self.number, kind, self.words, output, code, round(used_s, 2), round(time.monotonic() - self._begin_s, 1)
        )


def import_everything() -> None:
    """Import what the commands use, so that a fork starts at once; nothing may start a thread."""
    import mipi_pl.cli
    import mipi_pl.commands.doctor_checks
    import mipi_pl.reporting.report
    import mipi_pl.reproduction.reproduce
    import mipi_pl.run.evaluate
    import mipi_pl.run.launch
    import mipi_pl.run.resume
    import mipi_pl.run.watch
    import mipi_pl.theory.report  # noqa: F401


def run(words: list[str], folder: Path, limits: Limits, number: int = 0) -> Outcome:
    """Run one command to its end or its limit."""
    case = Case(number, words, folder, limits)
    while (outcome := case.poll()) is None:
        time.sleep(0.02)
    return outcome


def judge(code: int, was_stopped: bool, out: str, err: str) -> str:
    """Return the kind of an outcome."""
    # A fork ends without Python's cleanup, so the helper process of multiprocessing reports what it cleans up.
    lines = [line for line in err.splitlines() if line.strip() and "resource_tracker" not in line]
    if "Traceback (most recent call last)" in out + err:
        return "traceback"
    if was_stopped:
        return "long" if is_stated(out + err) and code in (0, 1, 2, 130) else "hang"
    if code == 0:
        return "ran"
    if code in (1, 2) and len(lines) == 1 and lines[0].startswith("mipi"):
        return "refused" if code == 2 else "failed"
    return "other"


def is_stated(text: str) -> bool:
    """Return whether a command has said that it will take long."""
    frames = [int(number.replace(",", "")) for number in _FRAMES.findall(text)]
    return any(note in text for note in _NOTES) or max(frames, default=0) >= MANY_FRAMES


def processor(child: int) -> tuple[float, bool]:
    """Return the processor seconds of a process and its ended children, and whether all its threads sleep."""
    states = []
    for thread in Path(f"/proc/{child}/task").iterdir():
        with contextlib.suppress(OSError):  # the thread has ended
            states.append((thread / "stat").read_text().rpartition(")")[2].split()[0])
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK"), set(states) <= {"S", "Z"}


def start(words: list[str], folder: Path) -> int:
    """Run a command in a fork, in a new folder that its output is written to; returns the process id."""
    folder.mkdir(parents=True)
    for name in ("stdout", "stderr"):
        (folder / name).touch()
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.setsid()
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_GB << 30, MEMORY_GB << 30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for name, number in (("/dev/null", 0), ("stdout", 1), ("stderr", 2)):
            os.dup2(os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        sys.stdout.reconfigure(line_buffering=True)  # what it has said decides
        faulthandler.register(signal.SIGUSR1, file=open("stack", "w"), all_threads=True)  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.argv = [str(Path(sys.executable).parent / "mipi"), *words]  # other processes of a run start this file
        from mipi_pl.cli import main

        code = main(words)
    except BaseException:
        traceback.print_exc()
        code = 98
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


class Results:
    """Outcomes in a file of JSON lines, each written as soon as it is known, so that an ended run can be continued.

    Args:
        path: file; outcomes that it has already are kept.
        commit: commit of the program, which new outcomes get; None if unknown.
    """

    def __init__(self, path: Path, commit: str | None = None) -> None:
        self.path, self.commit = path, commit
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]  # the last one is not, if the run was killed
        path.write_text("".join(whole), encoding="utf-8")
        self.outcomes = [Outcome(**json.loads(line)) for line in whole]

    def add(self, outcome: Outcome) -> None:
        """Append an outcome, with the present commit."""
        outcome = replace(outcome, commit=self.commit)
        self.outcomes.append(outcome)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")

    def missing(self, numbers: Sequence[int]) -> list[int]:
        """Return the numbers whose latest outcome is a defect or of another commit, and those without an outcome."""
        latest = {outcome.number: outcome for outcome in self.outcomes}
        done = {
            number
            for number, outcome in latest.items()
            if outcome.kind not in DEFECTS and outcome.commit == self.commit
        }
        return [number for number in numbers if number not in done]

    def latest(self, numbers: Sequence[int]) -> list[Outcome]:
        """Return the latest outcome of each of the numbers that has one."""
        latest = {outcome.number: outcome for outcome in self.outcomes}
        return [latest[number] for number in numbers if number in latest]

    def summary(self, numbers: Sequence[int]) -> str:
        """Return the commits, the counts of the kinds and the longest cases that were not stopped, of the numbers."""
        outcomes = self.latest(numbers)
        counts = Counter(outcome.kind for outcome in outcomes)
        listed = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS)
        commits = ", ".join(sorted({str(outcome.commit or "unknown")[:7] for outcome in outcomes}))
        hours = sum(outcome.seconds for outcome in outcomes) / 3600
        ended = [outcome.seconds for outcome in outcomes if outcome.kind not in ("long", "hang")]
        longest = ", ".join(f"{seconds:.0f}" for seconds in sorted(ended)[-3:])
        return (
            f"{len(outcomes)} configurations in {hours:.2f} processor hours: {listed}; commit {commits or 'unknown'}; "
            f"the longest that ended took {longest or 'no'} processor seconds"
        )
