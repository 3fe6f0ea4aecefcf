"""Fuzz test of the command line: random configurations, each in a fork with a time limit.

    python benchmarks/fuzz_configs.py [--cases 5000] [--seed 0] [--first 0] [--jobs 2] [--limit 30] [--verbose]

Each case is a valid command with one to three random changes (tests/references/fuzz_draws.py) and depends only on the
seed and its number. Its outcome is one of

* ran: exit code 0;
* refused: exit code 2 and one line on stderr;
* failed: exit code 1 and one line on stderr, such as diverged learning;
* long: stopped at the time limit; it had said how much it would do, and Ctrl-C ended it;
* traceback, hang or other: a defect. These are listed with their command at the end, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import random
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "references"))
os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1", WANDB_MODE="disabled", MPLBACKEND="agg")

from fuzz_draws import TRAIN_BASES, Scene, command_line, keys_of

DEFECTS = ("traceback", "hang", "other")
MEMORY_GB = 8
"""Address space of a case: more is a MemoryError."""
_GRACE_S = 20
"""Processor seconds within which Ctrl-C must end a case."""
_IDLE_S = 90
"""Seconds without any processor time after which a case hangs."""


@dataclass(frozen=True)
class Outcome:
    """What became of a command.

    Attributes:
        kind: see the documentation of this module.
        words: the command line.
        output: its stdout and stderr.
        code: exit code, or minus the number of the signal that ended it.
        seconds: wall-clock time.
    """

    kind: str
    words: list[str]
    output: str
    code: int
    seconds: float


def import_everything() -> None:
    """Import what the commands use, so that a fork starts at once; nothing may start a thread."""
    import mipi_pl.cli
    import mipi_pl.commands.doctor_checks
    import mipi_pl.reporting.report
    import mipi_pl.reproduction.reproduce
    import mipi_pl.run.compose
    import mipi_pl.run.evaluate
    import mipi_pl.run.resume
    import mipi_pl.run.watch
    import mipi_pl.theory.report  # noqa: F401


def start(words: list[str], folder: Path) -> int:
    """Run a command in a fork, in a folder of its own; returns the process id."""
    folder.mkdir(parents=True)
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
        faulthandler.register(signal.SIGUSR1, file=open("stack", "w"), all_threads=True)  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["mipi", *words]
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


def finish(child: int, words: list[str], folder: Path, limit_s: float) -> Outcome:
    """Wait for a command, stop it at the time limit, and judge it."""
    begin_s = time.monotonic()
    code = _wait(child, limit_s)
    stopped = code is None
    if code is None:
        os.kill(child, signal.SIGUSR1)
        time.sleep(0.3)
        os.killpg(child, signal.SIGINT)
        code = _wait(child, _GRACE_S)
    if code is None:  # as the program says: a second Ctrl-C stops within an update
        os.killpg(child, signal.SIGINT)
        code = _wait(child, _GRACE_S)
    if code is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        _wait(child, 60)
        code = -signal.SIGKILL
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # workers that the command left behind
    out, err = ((folder / name).read_text(errors="replace") for name in ("stdout", "stderr"))
    kind = judge(code, stopped, out, err)
    stack = (folder / "stack").read_text() if kind == "hang" else ""
    return Outcome(kind, words, f"{out[-1500:]}{err[-6000:]}{stack[:3000]}", code, time.monotonic() - begin_s)


def judge(code: int, stopped: bool, out: str, err: str) -> str:
    """Return the kind of an outcome."""
    # A fork ends without Python's cleanup, so the helper process of multiprocessing reports what it cleans up.
    lines = [line for line in err.splitlines() if line.strip() and "resource_tracker" not in line]
    if "Traceback (most recent call last)" in out + err:
        return "traceback"
    if stopped:
        has_said = "note: " in out + err or " frames, folder " in out
        return "long" if has_said and code in (0, 1, 2, 130) else "hang"
    if code == 0:
        return "ran"
    if code in (1, 2) and len(lines) == 1 and lines[0].startswith("mipi"):
        return "refused" if code == 2 else "failed"
    return "other"


def _wait(child: int, limit_s: float) -> int | None:
    """Return the exit code, or None after `limit_s` seconds of processor time, or if it has long used none."""
    first_s = last_s = _processor_s(child)
    active_s = time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        now_s = _processor_s(child)
        if now_s > last_s:
            last_s, active_s = now_s, time.monotonic()
        if now_s - first_s > limit_s or time.monotonic() - active_s > _IDLE_S:
            return None
        time.sleep(0.02)


def _processor_s(child: int) -> float:
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(words: list[str], folder: Path, limit_s: float) -> Outcome:
    """Run one command to its end or its time limit."""
    return finish(start(words, folder), words, folder, limit_s)


def prepare(root: Path) -> Scene:
    """Train two tiny runs that the commands can open, and read the keys of all configs."""
    from omegaconf import OmegaConf

    from mipi_pl.run.compose import compose

    checkpoints: dict[str, dict[str, object]] = {}
    keys = {}
    for base in TRAIN_BASES:
        config = OmegaConf.to_container(compose([*base, "debug=tiny"]))
        keys[base] = keys_of(config)
    for number, base in ((0, TRAIN_BASES[0]), (4, TRAIN_BASES[4])):
        folder = root / f"prepared_{number}"
        words = ["train", *base, "debug=tiny", "threads=1", "held_out.episodes=2", f"output_dir={folder / 'runs'}"]
        outcome = run(words, folder / "log", 600)
        if outcome.kind != "ran":
            sys.exit(f"the valid command did not run ({outcome.kind}): {shlex.join(words)}\n{outcome.output}")
        checkpoint = str((folder / "runs" / "latest" / "checkpoints" / "last.ckpt").resolve())
        checkpoints[checkpoint] = {key: value for key, value in keys[base].items() if key.startswith("env.")}
    checkpoints["quickstart"] = checkpoints[checkpoint]
    return Scene(checkpoints, Path(checkpoint).parents[1], keys)


def main() -> None:
    """Run the cases, print the outcomes; exits with 1 if there was a defect."""
    parser = argparse.ArgumentParser(description="Run random configurations and sort their outcomes.")
    parser.add_argument("--cases", type=int, default=5000, help="number of configurations (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the configurations")
    parser.add_argument("--first", type=int, default=0, help="number of the first configuration")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--limit", type=float, default=20.0, help="processor seconds per configuration (default: %(default)s)"
    )
    parser.add_argument("--verbose", action="store_true", help="print every command with its outcome and last line")
    parser.add_argument("--only", nargs="+", help="command lines to run instead, for example those that were listed")
    arguments = parser.parse_args()
    import_everything()
    begin_s = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="mipi-fuzz-"))
    try:
        outcomes = _run_all(arguments, root)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    counts = Counter(outcome.kind for outcome in outcomes)
    found = [outcome for outcome in outcomes if outcome.kind in DEFECTS]
    for outcome in found:
        print(f"\n{outcome.kind} (exit code {outcome.code}): mipi {shlex.join(outcome.words)}\n{outcome.output}")
    minutes = (time.monotonic() - begin_s) / 60
    listed = ", ".join(f"{counts[kind]} {kind}" for kind in ("ran", "refused", "failed", "long", *DEFECTS))
    print(f"{len(outcomes)} configurations in {minutes:.1f} minutes (seed {arguments.seed}): {listed}")
    sys.exit(bool(found))


def _run_all(arguments: argparse.Namespace, root: Path) -> list[Outcome]:
    if arguments.only:
        outcomes = []
        for number, line in enumerate(arguments.only):
            outcomes.append(run(shlex.split(line), root / f"case_{number}", arguments.limit))
            print(
                f"{outcomes[-1].kind} in {outcomes[-1].seconds:.1f} s: mipi {line}\n{outcomes[-1].output}", flush=True
            )
        return outcomes
    scene = prepare(root)
    numbers = list(range(arguments.first, arguments.first + arguments.cases))
    waiting, running, outcomes = numbers[::-1], {}, []
    import threading  # each case is waited for in a thread; forks happen in the main thread only

    done: list[tuple[int, Outcome]] = []

    def attend(number: int, child: int, words: list[str], folder: Path) -> None:
        done.append((number, finish(child, words, folder, arguments.limit)))

    while waiting or running:
        while waiting and len(running) < arguments.jobs:
            number = waiting.pop()
            words = command_line(random.Random(f"{arguments.seed} {number}"), scene)
            folder = root / f"case_{number}"
            child = start(words, folder)
            running[number] = threading.Thread(target=attend, args=(number, child, words, folder))
            running[number].start()
        time.sleep(0.01)
        while done:
            number, outcome = done.pop()
            running.pop(number).join()
            shutil.rmtree(root / f"case_{number}", ignore_errors=True)
            outcomes.append(outcome)
            if arguments.verbose or outcome.kind in DEFECTS:
                last = (outcome.output.strip().splitlines() or [""])[-1]
                head = f"{number} {outcome.kind} {outcome.seconds:.1f} s: mipi {shlex.join(outcome.words)}"
                print(f"{head}\n      {last[:300]}", flush=True)
    return outcomes


if __name__ == "__main__":
    main()
