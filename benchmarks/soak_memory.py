"""Leak test: trains for a long time and samples the memory, threads, child processes and open files of the run.

    python benchmarks/soak_memory.py [--kind replay|on_policy] [--minutes 60] [--outputs FOLDER]

The run is an endless quickstart: with a replay of 300 episodes, which is full after a minute, or with rollouts. After
that, memory should not grow. The script samples the operating system (Linux) and sends SIGTERM at the end. After that
no process of the run may remain. It writes samples.csv, a row at a time, result.json and the picture memory.png to
--outputs.
"""

from __future__ import annotations

import argparse
import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ENDLESS = [
    "total_frames=100_000_000",
    "callbacks.checkpointing.every_frames=5_000",
    "threads=1",
]
KINDS = {
    "replay": ["algorithm=mipi", "datamodule.capacity=300", "datamodule.epsilon_frames=100_000"],
    "on_policy": ["algorithm=mipi_ppo"],
}
EVERY_S = 10.0
COLUMNS = (
    "seconds",
    "memory_mib",
    "threads",
    "processes",
    "open_files",
    "checkpoint_files",
    "checkpoints_mib",
    "logs_mib",
)


Row = dict[str, float]


def children(process: int) -> list[int]:
    """Returns the IDs of the processes that a process and its threads have started."""
    started: list[int] = []
    for thread in Path(f"/proc/{process}/task").iterdir():
        started += [int(number) for number in (thread / "children").read_text().split()]
    return started


def sample(process: int, folder: Path, seconds: float) -> Row:
    """Returns a row of `COLUMNS`: the current resources of a process and the files in its run folder."""
    proc = Path(f"/proc/{process}")
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    saved = [path for path in (folder / "checkpoints").rglob("*") if path.is_file()]
    logs = [path for path in folder.iterdir() if path.is_file()]
    return {
        "seconds": round(seconds),
        "memory_mib": round(int(status["VmRSS"].split()[0]) / 1024, 1),
        "threads": int(status["Threads"]),
        "processes": 1 + len(children(process)),
        "open_files": len(list((proc / "fd").iterdir())),
        "checkpoint_files": len(saved),
        "checkpoints_mib": round(size_of(saved), 2),
        "logs_mib": round(size_of(logs), 3),
    }


def size_of(paths: list[Path]) -> float:
    """Returns the size of all files in MiB, without files that were replaced in the meantime."""
    return sum(path.stat().st_size for path in paths if path.exists()) / 2**20


def watch(command: list[str], outputs: Path, seconds: float, every_s: float) -> tuple[list[Row], int, list[int]]:
    """Run a command and sample it; returns the samples, the exit code after SIGTERM and the remaining processes."""
    rows: list[Row] = []
    with (
        (outputs / "run.log").open("w") as log,
        (outputs / "samples.csv").open("w", newline="") as file,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        first_s, started = None, children(process.pid)
        try:
            # The time starts with the first sample, so that a slow start costs none.
            while (first_s is None or time.monotonic() - first_s < seconds) and process.poll() is None:
                time.sleep(every_s)
                checkpoints = sorted(outputs.glob("*__*/*/checkpoints"))
                if checkpoints and process.poll() is None:
                    first_s = first_s or time.monotonic()
                    rows.append(sample(process.pid, checkpoints[-1].parent, time.monotonic() - first_s))
                    writer.writerow(rows[-1])
                    file.flush()
                    started = sorted({*started, *children(process.pid)})
        finally:
            process.send_signal(signal.SIGTERM)
        code = process.wait()
    time.sleep(2.0)
    return rows, code, [number for number in started if Path(f"/proc/{number}").exists()]


def draw(rows: list[Row], path: Path) -> None:
    """Draw memory, and the counts of the other resources that could leak."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(7, 5), sharex=True, layout="constrained")
    minutes = [row["seconds"] / 60 for row in rows]
    above.plot(minutes, [row["memory_mib"] for row in rows])
    above.set_ylabel("resident memory (MiB)")
    above.set_ylim(0, 1.15 * max(row["memory_mib"] for row in rows))
    for name in ("threads", "processes", "open_files", "checkpoint_files"):
        below.plot(minutes, [row[name] for row in rows], label=name.replace("_", " "))
    below.set_ylim(bottom=0)
    below.set_xlabel("minutes of training")
    below.set_ylabel("count")
    below.legend(ncols=2)
    figure.savefig(path, dpi=110)


def verdict(rows: list[Row]) -> tuple[dict[str, list[float]], list[str]]:
    """Return the means of the second and the last fifth of the samples, and the names of the columns that grew.

    The first fifth fills the replay and compiles.
    """
    fifth = max(1, len(rows) // 5)
    early, late = rows[fifth : 2 * fifth] or rows, rows[-fifth:]
    figures = {}
    for name in COLUMNS[1:]:
        before, after = (sum(row[name] for row in part) / len(part) for part in (early, late))
        figures[name] = [round(before, 2), round(after, 2)]
    bounded = ("memory_mib", "threads", "processes", "open_files", "checkpoints_mib")
    return figures, [name for name in bounded if figures[name][1] > 1.05 * figures[name][0] + 0.5]


def main() -> int:
    """Run the test and print a line of JSON; returns 1 if a resource grew or a process remained."""
    parser = argparse.ArgumentParser(description="Watch the memory of a long training run.")
    parser.add_argument("--kind", choices=KINDS, default="replay", help="datamodule (default %(default)s)")
    parser.add_argument("--minutes", type=float, default=60.0, help="minutes to train (default %(default)s)")
    parser.add_argument("--every-s", type=float, default=EVERY_S, help="seconds between samples (default %(default)s)")
    parser.add_argument("--outputs", type=Path, help="(default outputs/soak-memory/<kind>)")
    parser.add_argument("--experiment", default="quickstart", help="what is trained (default %(default)s)")
    arguments = parser.parse_args()
    outputs = arguments.outputs or Path("outputs/soak-memory") / arguments.kind
    outputs.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mipi_pl", "train"]
    command += [f"experiment={arguments.experiment}", *ENDLESS, *KINDS[arguments.kind], f"output_dir={outputs}"]
    rows, code, left = watch(command, outputs, 60 * arguments.minutes, arguments.every_s)
    if not rows:
        sys.exit(f"the run ended before the first sample; see {outputs / 'run.log'}")
    draw(rows, outputs / "memory.png")
    figures, grown = verdict(rows)
    result = {
        "kind": arguments.kind,
        "minutes": round(rows[-1]["seconds"] / 60, 1),
        "exit_code": code,
        "left": left,
        "grown": grown,
        "second_and_last_fifth": figures,
    }
    (outputs / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return int(bool(grown or left) or code != 130)


if __name__ == "__main__":
    sys.exit(main())
