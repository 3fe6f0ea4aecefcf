"""Kills and stops processes of small runs, and measures how long the others go on and what is left running.

    python benchmarks/lost_processes.py --lost-after-s 20

Each case starts a run in a session of its own, waits for its first checkpoint, sends one signal, and waits for the end.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

RUN = [
    "experiment=matrix_game",
    "debug=tiny",
    "total_frames=10_000_000",
    "callbacks.checkpointing.every_frames=64",
    "callbacks.generalization.every_frames=5_000_000",
    "held_out.baselines=[]",
    "threads=1",
]
DEVICES = ["trainer.devices=2", "trainer.accelerator=cpu"]
WORKERS = ["datamodule.collector=processes", "datamodule.workers=2"]
CASES = {
    "one process, SIGHUP": ([], "first", signal.SIGHUP),
    "one process, SIGTERM": ([], "first", signal.SIGTERM),
    "two processes, SIGHUP to all": (DEVICES, "all", signal.SIGHUP),
    "two processes, second killed": (DEVICES, "second", signal.SIGKILL),
    "two processes, first killed": (DEVICES, "first", signal.SIGKILL),
    "two processes, second stopped": (DEVICES, "second", signal.SIGSTOP),
    "two processes, first stopped": (DEVICES, "first", signal.SIGSTOP),
    "two workers, one killed": (WORKERS, "worker", signal.SIGKILL),
    "two workers, one stopped": (WORKERS, "worker", signal.SIGSTOP),
    "two workers, first process killed": (WORKERS, "first", signal.SIGKILL),
    "two workers, SIGHUP to all": (WORKERS, "all", signal.SIGHUP),
}


def session(leader: int) -> dict[int, str]:
    """Return process id and command of the processes of a session that have not ended."""
    members = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError, IndexError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] not in "ZX":
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if "resource_tracker" not in command:  # Python's own helper, which ends with its process
                    members[int(folder.name)] = command
    return members


def target_of(kind: str, leader: int) -> list[int]:
    """Return the processes that a case sends its signal to."""
    members = session(leader)
    others = [pid for pid in members if pid != leader]
    second = [pid for pid in others if "spawn_main" not in members[pid]]
    worker = [pid for pid in others if "spawn_main" in members[pid]]
    return {"first": [leader], "second": second[:1], "worker": worker[-1:], "all": list(members)}[kind]


def measure(name: str, lost_after_s: float, root: Path) -> str:
    """Run a case and return a row of the table."""
    options, kind, number = CASES[name]
    command = [sys.executable, "-m", "mipi_pl", "train", *RUN, *options, f"lost_after_s={lost_after_s}"]
    with (root / "stderr").open("w+") as stderr:
        process = subprocess.Popen(
            [*command, f"output_dir={root}"], stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True
        )
        try:
            while not list(root.glob("*__*/*/checkpoints/index.json")) and process.poll() is None:
                time.sleep(0.1)
            time.sleep(3)
            targets = target_of(kind, process.pid)
            for pid in targets:
                os.kill(pid, number)
            start_s = time.monotonic()
            while set(session(process.pid)) - set(targets if number == signal.SIGSTOP else ()):
                if time.monotonic() - start_s > lost_after_s + 120:
                    break
                time.sleep(0.1)
            took_s = time.monotonic() - start_s
            left = session(process.pid)
            code = None
            if not left:
                with suppress(subprocess.TimeoutExpired):
                    code = process.wait(10)
            if number == signal.SIGSTOP and kind == "first":  # what it says once it is continued
                os.kill(process.pid, signal.SIGCONT)
                with suppress(subprocess.TimeoutExpired):
                    code = process.wait(60)
        finally:
            for pid in session(process.pid):
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
        stderr.seek(0)
        lines = [line.strip() for line in stderr if line.strip() and "Warning" not in line]
    told = " / ".join(line for line in lines if line.startswith("mipi")) or "nothing"
    traceback = ", TRACEBACK" if any("Traceback" in line for line in lines) else ""
    return f"{name} | {took_s:.1f} s | exit code {code} | {len(left)} left{traceback} | {told}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lost-after-s", type=float, default=20.0)
    parser.add_argument("--only", default="", help="run only the cases whose name contains this text")
    options = parser.parse_args()
    for name in CASES:
        if options.only in name:
            with tempfile.TemporaryDirectory() as root:
                print(measure(name, options.lost_after_s, Path(root)), flush=True)


if __name__ == "__main__":
    main()
