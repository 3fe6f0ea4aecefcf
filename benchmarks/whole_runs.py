"""Speed, processor time and memory of `mipi train` between two of its updates, for the benchmarks of the whole loop."""

from __future__ import annotations

import json
import os
import resource
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
    """Callback that measures updates, frames and processor seconds after the first updates.

    Args:
        path: prefix of the files that the processes write; the number of the process is appended.
        skip: updates before the clock starts, which include the warm-up collection and compilation.
        updates: number of updates to measure.
    """

    def __init__(self, path: str, skip: int, updates: int) -> None:
        super().__init__()
        self.path, self.skip, self.updates = path, skip, updates
        self._start = (0.0, 0.0, 0)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        """Start the clock after `skip` updates; `updates` later, stop training and write the figures."""
        now = time.perf_counter(), time.process_time(), int(trainer.datamodule.frames)
        if pl_module.updates == self.skip:
            self._start = now
        if pl_module.updates == self.skip + self.updates:
            trainer.should_stop = True
            seconds, processor_seconds, frames = (a - b for a, b in zip(now, self._start, strict=True))
            peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            figures = {"s": seconds, "processor_s": processor_seconds, "frames": frames, "mib": peak_mib}
            Path(f"{self.path}.{trainer.global_rank}").write_text(json.dumps(figures))


def measure(
    updates: int, overrides: list[str], processes: int = 1, threads: int = 1, skip: int = 5
) -> dict[str, float]:
    """Train without evaluations and checkpoints and return the speed, without the start of the processes.

    Args:
        updates: number of updates to measure.
        overrides: arguments of `mipi train`.
        processes: number of processes that learn together.
        threads: threads of each process.
        skip: updates before the clock starts.

    Returns:
        ``updates_per_s``, ``frames_per_s`` (environment steps of all processes), ``frames_per_core_s`` (per processor
        second of all processes) and ``peak_mib`` (largest resident memory, summed over the processes).

    Raises:
        CalledProcessError: if the training fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "figures"
        command = [
            *(sys.executable, "-m", "mipi_pl", "train", f"output_dir={folder}/outputs"),
            *(f"trainer.devices={processes}", "trainer.accelerator=cpu", f"threads={threads}"),
            *(f"total_frames={NEVER}", "held_out.episodes=1", "held_out.team_sizes=[]", "held_out.baselines=[]"),
            *(f"callbacks.{name}.every_frames={NEVER}" for name in ("generalization", "checkpointing")),
            "+callbacks.stopwatch._target_=whole_runs.Stopwatch",
            *(f"+callbacks.stopwatch.{k}={v}" for k, v in (("path", note), ("skip", skip), ("updates", updates))),
            *overrides,
        ]
        path = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
        number = str(threads)
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": number, "NUMBA_NUM_THREADS": number}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        ranks = [json.loads(file.read_text()) for file in sorted(note.parent.glob("figures.*"))]
    seconds, frames = ranks[0]["s"], ranks[0]["frames"]
    return {
        "updates_per_s": round(updates / seconds, 3),
        "frames_per_s": round(frames / seconds, 1),
        "frames_per_core_s": round(frames / sum(rank["processor_s"] for rank in ranks), 1),
        "peak_mib": round(sum(rank["mib"] for rank in ranks)),
    }
