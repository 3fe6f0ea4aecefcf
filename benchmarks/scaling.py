"""Updates and frames per second of whole runs on one and on two processes, one thread each.

    python benchmarks/scaling.py [--processes 1,2] [--updates 60] [key=value ...]

Runs `mipi train` with the quickstart's networks and battles; the time is that between the first and the last update,
without the start of the processes, the evaluations and the checkpoints. Each process has a batch and battles of its
own, so at perfect scaling updates/s stay the same and frames/s grow with the processes. Ends with one line of JSON.
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
    """Notes time, frames and updates after the first updates and at the end.

    Args:
        path: of the file that the first process writes.
        skip: updates before the clock starts: collection for the warm-up and compilation.
        updates: to measure.
    """

    def __init__(self, path: str, skip: int, updates: int) -> None:
        super().__init__()
        self.path, self.skip, self.updates = Path(path), skip, updates
        self._start: tuple[float, int] = (0.0, 0)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        """Start or stop."""
        now = time.perf_counter(), int(trainer.datamodule.frames)
        if pl_module.updates == self.skip:
            self._start = now
        if pl_module.updates == self.skip + self.updates:
            trainer.should_stop = True
            if trainer.is_global_zero:
                seconds = now[0] - self._start[0]
                found = {"updates_per_s": self.updates / seconds, "frames_per_s": (now[1] - self._start[1]) / seconds}
                self.path.write_text(json.dumps(found))


def measure(processes: int, updates: int, overrides: list[str]) -> dict[str, float]:
    """Speeds of a run."""
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
        found: dict[str, float] = json.loads(note.read_text())
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--processes", default="1,2", help="numbers of processes; the first is what others are compared to"
    )
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("overrides", nargs="*", help="of mipi train")
    arguments = parser.parse_args()
    numbers = [int(number) for number in arguments.processes.split(",")]
    found = {number: measure(number, arguments.updates, arguments.overrides) for number in numbers}
    base = found[numbers[0]]
    for number, speeds in found.items():
        ratio = speeds["frames_per_s"] / base["frames_per_s"]
        print(
            f"{number} processes of 1 thread: {speeds['updates_per_s']:.2f} updates/s, "
            f"{speeds['frames_per_s']:,.0f} frames/s, {ratio:.2f} times {numbers[0]}"
        )
    print(json.dumps({str(number): speeds for number, speeds in found.items()}))


if __name__ == "__main__":
    main()
