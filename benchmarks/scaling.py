"""Updates and frames per second of whole runs with one process and with two, one thread each.

    python benchmarks/scaling.py [--processes 1,2] [--updates 60] [key=value ...]

Runs `mipi train` with the quickstart's networks and battles. The measured time is that between the first and the last
update, without the start of the processes, evaluations and checkpoints. Each process has its own batch and battles, so
with perfect scaling updates/s stay the same and frames/s grow with the number of processes. Ends with a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lightning import Callback

ROOT = Path(__file__).resolve().parents[1]
NEVER = 10**9


class Stopwatch(Callback):
    """Callback that measures updates and frames per second after the first updates.

    Args:
        path: file that the first process writes.
        skip: updates before the clock starts, which include the warm-up collection and compilation.
        updates: number of updates to measure.
    """

    def __init__(self, path: str, skip: int, updates: int) -> None:
        super().__init__()
        self.path, self.skip, self.updates = Path(path), skip, updates
        self._start: tuple[float, int] = (0.0, 0)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        """Start the clock after `skip` updates; stop training and write the speeds `updates` later."""
        now = time.perf_counter(), int(trainer.datamodule.frames)
        if pl_module.updates == self.skip:
            self._start = now
        if pl_module.updates == self.skip + self.updates:
            trainer.should_stop = True
            if trainer.is_global_zero:
                seconds = now[0] - self._start[0]
                speeds = {"updates_per_s": self.updates / seconds, "frames_per_s": (now[1] - self._start[1]) / seconds}
                self.path.write_text(json.dumps(speeds))


def measure(processes: int, updates: int, overrides: list[str]) -> dict[str, float]:
    """Train with this number of processes; returns updates and frames per second."""
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "speeds.json"
        command = [
            *(sys.executable, "-m", "mipi_pl.cli", "train", "experiment=quickstart", "algorithm=mipi"),
            f"output_dir={folder}/outputs",
            *(f"trainer.devices={processes}", "trainer.accelerator=cpu", "threads=1", f"total_frames={NEVER}"),
            *("held_out.episodes=1", "held_out.team_sizes=[]", "held_out.baselines=[]"),
            *(f"callbacks.{name}.every_frames={NEVER}" for name in ("generalization", "checkpointing")),
            "+callbacks.stopwatch._target_=scaling.Stopwatch",
            *(
                f"+callbacks.stopwatch.{key}={value}"
                for key, value in (("path", note), ("skip", 5), ("updates", updates))
            ),
            *overrides,
        ]
        path = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        speeds: dict[str, float] = json.loads(note.read_text())
        return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--processes", default="1,2", help="numbers of processes; the others are compared with the first"
    )
    parser.add_argument("--updates", type=int, default=60, help="updates to measure (default %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="arguments of mipi train")
    arguments = parser.parse_args()
    numbers = [int(number) for number in arguments.processes.split(",")]
    by_number = {number: measure(number, arguments.updates, arguments.overrides) for number in numbers}
    base = by_number[numbers[0]]
    for number, speeds in by_number.items():
        ratio = speeds["frames_per_s"] / base["frames_per_s"]
        print(
            f"{number} processes of 1 thread: {speeds['updates_per_s']:.2f} updates/s, "
            f"{speeds['frames_per_s']:,.0f} frames/s, {ratio:.2f} times {numbers[0]}"
        )
    print(json.dumps({str(number): speeds for number, speeds in by_number.items()}))


if __name__ == "__main__":
    main()
