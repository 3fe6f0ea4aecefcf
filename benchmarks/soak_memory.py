"""Leak test: trains for a long time and samples the memory, threads, child processes and open files of the run.

    python benchmarks/soak_memory.py [--minutes 60] [--outputs outputs/soak-memory]

The run is an endless quickstart with a replay of 300 episodes. The replay is full after a minute, after which memory
should not grow. The script samples the operating system (Linux) every 10 s and sends SIGTERM at the end. After that no
process of the run may remain. It writes samples.csv and the picture memory.png to --outputs.
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
    "experiment=quickstart",
    "algorithm=mipi",
    "total_frames=100_000_000",
    "datamodule.capacity=300",
    "datamodule.epsilon_frames=100_000",
    "callbacks.checkpointing.every_frames=5_000",
    "threads=1",
]
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


def children(process: int) -> list[int]:
    """Returns the IDs of the processes that a process and its threads have started."""
    started: list[int] = []
    for thread in Path(f"/proc/{process}/task").iterdir():
        started += [int(number) for number in (thread / "children").read_text().split()]
    return started


def sample(process: int, folder: Path, seconds: float) -> dict[str, float]:
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


def watch(command: list[str], outputs: Path, minutes: float) -> tuple[list[dict[str, float]], int, list[int]]:
    """Run a command and sample it; returns the samples, the exit code after SIGTERM and the remaining processes."""
    rows: list[dict[str, float]] = []
    with (outputs / "run.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        start, started = time.monotonic(), children(process.pid)
        while (seconds := time.monotonic() - start) < 60 * minutes and process.poll() is None:
            time.sleep(EVERY_S)
            checkpoints = sorted(outputs.glob("marines__mipi__0/*/checkpoints"))
            if checkpoints and process.poll() is None:
                rows.append(sample(process.pid, checkpoints[-1].parent, seconds))
                started = sorted({*started, *children(process.pid)})
        process.send_signal(signal.SIGTERM)
        code = process.wait()
    time.sleep(2.0)
    return rows, code, [number for number in started if Path(f"/proc/{number}").exists()]


def draw(rows: list[dict[str, float]], path: Path) -> None:
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


def main() -> int:
    """Run the test and print a line of JSON; returns 1 if a resource grew or a process remained."""
    parser = argparse.ArgumentParser(description="Watch the memory of a long training run.")
    parser.add_argument("--minutes", type=float, default=60.0, help="minutes to train (default %(default)s)")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/soak-memory"), help="(default %(default)s)")
    arguments = parser.parse_args()
    outputs = arguments.outputs
    outputs.mkdir(parents=True, exist_ok=True)
    mipi = str(Path(sys.executable).parent / "mipi")
    rows, code, left = watch([mipi, "train", *ENDLESS, f"output_dir={outputs}"], outputs, arguments.minutes)
    if not rows:
        sys.exit(f"the run ended before the first sample; see {outputs / 'run.log'}")
    with (outputs / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, outputs / "memory.png")
    # The first fifth fills the replay and compiles, so the mean of the second fifth is compared with that of the last.
    fifth = max(1, len(rows) // 5)
    early, late = rows[fifth : 2 * fifth] or rows, rows[-fifth:]
    figures = {}
    for name in COLUMNS[1:]:
        before, after = (sum(row[name] for row in part) / len(part) for part in (early, late))
        figures[name] = [round(before, 2), round(after, 2)]
    grown = [
        name
        for name in ("memory_mib", "threads", "processes", "open_files", "checkpoints_mib")
        if figures[name][1] > 1.05 * figures[name][0] + 0.5
    ]
    print(
        json.dumps(
            {
                "minutes": round(rows[-1]["seconds"] / 60, 1),
                "exit_code": code,
                "left": left,
                "grown": grown,
                "second_and_last_fifth": figures,
            }
        )
    )
    return int(bool(grown or left) or code != 130)


if __name__ == "__main__":
    sys.exit(main())
