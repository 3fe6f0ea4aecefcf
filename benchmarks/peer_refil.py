"""Updates per second of our learners beside REFIL's own code, on the same machine, batch and network sizes.

    git clone https://github.com/shariqiqbal2810/REFIL PATH && git -C PATH checkout ffe23a1c
    python benchmarks/peer_refil.py --repo PATH [--threads 2] [--repeats 5] [--steps 60 100]

Synthetic batches of 32 full episodes, 8 agents and 8 enemies, 36 features, 14 actions; networks of the paper (128, 4
heads, GRU 64, mixer 128/32), which are REFIL's. Timed is the update alone: no environment, no replay. REFIL's code is
not part of this repository; `peers/refil.py` says what is put around it. Each learner is a process of its own; they
take turns. Figures are medians, ratios are REFIL's seconds over ours.

Taking turns is not enough on a busy machine: with as many threads as cores, one other busy process makes PyTorch's
threads wait for each other, and an update many times slower on one side only. `spread` (slowest over fastest turn) and
`cpu` (processor seconds over those of the clock) show it: trust a ratio only where spreads are near 1. On a busy
machine use --threads 1 and compare `ratio of cpu`, the ratio of processor seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from importlib.resources import files
from pathlib import Path

from peers.turns import Side, take_turns

PEER = "refil_own"
PRECISIONS = {"": "32-true", "_bf16": "bf16-mixed"}
"""What is added to the name of an algorithm, and the precision that it stands for."""


def ours(what: str, algorithms: list[str], threads: int, *more: object) -> list[Side]:
    """A side for each of our algorithms in each precision."""
    root = Path(__file__).resolve().parents[1]
    return [
        Side(
            f"{algorithm}{suffix}",
            "ours.py",
            [what, "--algorithm", algorithm, "--precision", precision, "--threads", threads, *more],
            [root],
        )
        for algorithm in algorithms
        for suffix, precision in PRECISIONS.items()
    ]


def add_options(parser: argparse.ArgumentParser, repeats: int) -> None:
    """What both comparisons with REFIL take."""
    known = [name for name in ("mipi", "refil") if (files("configs") / "algorithm" / f"{name}.yaml").is_file()]
    parser.add_argument("--repo", type=Path, required=True, help="a checkout of REFIL")
    parser.add_argument("--algorithms", nargs="+", default=known, help="ours")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of PyTorch, on each side")
    parser.add_argument("--repeats", type=int, default=repeats, help="timed turns of each side")


def measure(repo: Path, algorithms: list[str], steps: int, threads: int, repeats: int) -> dict[str, dict[str, float]]:
    """Median seconds of an update, median processor seconds, and slowest over fastest, by side."""
    peer = Side(PEER, "refil.py", ["update", "--repo", repo, "--steps", steps, "--threads", threads])
    turns = take_turns([peer, *ours("update", algorithms, threads, "--steps", steps)], repeats)
    measured = {}
    for name, found in turns.items():
        seconds = [turn["seconds"] for turn in found]
        measured[name] = {
            "seconds": statistics.median(seconds),
            "cpu_seconds": statistics.median(turn["cpu_seconds"] for turn in found),
            "spread": max(seconds) / min(seconds),
        }
    return measured


def main() -> None:
    """Print a table; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, repeats=5)
    parser.add_argument("--steps", type=int, nargs="+", default=[60, 100], help="of the episodes")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    for steps in options.steps:
        found = measure(options.repo, options.algorithms, steps, options.threads, options.repeats)
        peer = found[PEER]
        for name, one in found.items():
            ratio, ratio_cpu = (peer[key] / one[key] for key in ("seconds", "cpu_seconds"))
            print(
                f"{steps:>4} steps  {name:<12} {1 / one['seconds']:8.3f} updates/s  ratio {ratio:6.2f}  "
                f"ratio of cpu {ratio_cpu:6.2f}  cpu {one['cpu_seconds'] / one['seconds']:5.2f}  "
                f"spread {one['spread']:5.2f}",
                flush=True,
            )
            figures[f"{name}_updates_per_s_{steps}"] = round(1 / one["seconds"], 4)
            figures[f"{name}_spread_{steps}"] = round(one["spread"], 2)
            if name != PEER:
                figures[f"{name}_ratio_{steps}"] = round(ratio, 2)
                figures[f"{name}_ratio_cpu_{steps}"] = round(ratio_cpu, 2)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
