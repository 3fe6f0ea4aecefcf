"""Resume test: kills a training run at random times, resumes it, and compares the end with an uninterrupted run.

    python benchmarks/soak_resume.py [--kills 20] [--frames 30_000] [--seed 0] [--outputs outputs/soak]

The run is a short quickstart on real battles. Each process gets SIGKILL (half of the time), SIGTERM or SIGINT after a
random time, also during start-up and while it saves. The two ends must be equal bit for bit in networks, targets,
optimizers, loops, callbacks, random states, environments, open episodes, counters, all kept episodes, metrics.csv and
evaluations.csv.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "references"))

from run_content import content, differences

SHORT = [
    "experiment=quickstart",
    "algorithm=mipi",
    "datamodule.capacity=150",
    "callbacks.checkpointing.every_frames=400",
    "callbacks.generalization.every_frames=1500",
    "callbacks.generalization.episodes=4",
    "callbacks.target_update.every_episodes=20",
    "held_out.episodes=4",
    "trainer.log_every_n_steps=5",
    "threads=1",
]


def mipi(*arguments: str) -> list[str]:
    """Returns a command line that runs `mipi` of this installation."""
    return [str(Path(sys.executable).parent / "mipi"), *arguments]


def run_for(command: list[str], limit_s: float | None, number: signal.Signals, log: Path) -> int:
    """Run a command, send it a signal after `limit_s` seconds (None: never), and return its exit code."""
    with log.open("a") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            return process.wait()


def finish(root: Path) -> Path:
    """Returns the run folder below `root`."""
    (folder,) = root.glob("marines__mipi__0/*")
    return folder


def main() -> None:
    """Train the uninterrupted run, kill and resume the other, and compare; exits with 1 if they differ."""
    parser = argparse.ArgumentParser(description="Kill and resume a run, and compare its end.")
    parser.add_argument("--kills", type=int, default=20, help="number of processes that get a signal")
    parser.add_argument("--frames", type=int, default=30_000, help="frames of the run; use fewer on a busy machine")
    parser.add_argument("--seed", type=int, default=0, help="seed of the signals and their times")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/soak"), help="folder of the runs; must not exist")
    arguments = parser.parse_args()
    if arguments.outputs.exists():
        parser.error(f"--outputs must be a new folder, but {arguments.outputs} exists: choose another or remove it")
    os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")
    # A background job ignores SIGINT, and its children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    draw = random.Random(arguments.seed)
    arguments.outputs.mkdir(parents=True)
    log, whole, broken = (arguments.outputs / name for name in ("log.txt", "whole", "broken"))
    train = ["train", *SHORT, f"total_frames={arguments.frames}"]
    start_s = time.monotonic()
    code = run_for(mipi(*train, f"output_dir={whole}"), None, signal.SIGKILL, log)
    whole_s = time.monotonic() - start_s
    if code:
        parser.error(f"the uninterrupted run failed with exit code {code}; see {log}")
    print(f"uninterrupted run: {whole_s:.0f} s")
    counts: dict[str, int] = {}
    for kill in range(arguments.kills):
        choice = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
        number, limit_s = draw.choice(choice), draw.uniform(0.07, 0.2) * whole_s
        started = list(broken.glob("marines__mipi__0/*/checkpoints/index.json"))
        again = mipi("resume", str(finish(broken))) if started else mipi(*train, f"output_dir={broken}")
        if not started and broken.exists():
            finish(broken).rename(arguments.outputs / f"too_early_{kill}")  # killed before its first checkpoint
            (broken / "marines__mipi__0").rmdir()
        code = run_for(again, limit_s, number, log)
        if code == 0:
            break
        counts[number.name] = counts.get(number.name, 0) + 1
        print(f"{number.name} after {limit_s:.1f} s, exit code {code}", flush=True)
    if not (finish(broken) / "results.json").exists():
        run_for(mipi("resume", str(finish(broken))), None, signal.SIGKILL, log)
    messages = differences(content(finish(whole)), content(finish(broken)))
    resumed_at = json.loads((finish(broken) / "results.json").read_text())["resumed_at"]
    print("\n".join(messages) or "the ends are equal, bit for bit")
    print(json.dumps({"signals": counts, "resumed_at_updates": resumed_at, "differences": len(messages)}))
    sys.exit(bool(messages))


if __name__ == "__main__":
    main()
