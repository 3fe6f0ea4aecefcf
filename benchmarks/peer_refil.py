"""Updates per second of our learners beside REFIL's own code, on the same machine, batch and network sizes.

    git clone https://github.com/shariqiqbal2810/REFIL PATH && git -C PATH checkout ffe23a1c
    python benchmarks/peer_refil.py --repo PATH [--threads 2] [--repeats 5] [--steps 60 100] [--batch full battles]

Two kinds of batch, each of 32 episodes with 8 agents and 8 enemies, of which all learners get the same file:

* `full`: synthetic, 36 features, 14 actions; every agent acts up to the time limit. Nothing can be left out: the
  worst case of a learner that computes only what was played.
* `battles`: the first battle of each of 32 environments of our own world (`env=sz env.team_sizes=[8]`, 30 features, 14
  actions), with `--steps` as the time limit. Units die and episodes end early, as in any replay. `--policy` says who
  plays: `attack_nearest` unless told otherwise, the least favourable of the scripted players to us. Its `acting_share`
  at 60 and 100 steps is 0.63 and 0.44, that of `focus_fire` 0.61 and 0.38, of `random` (what a replay holds at first)
  0.56 and 0.37.

`length` is the mean length of the episodes and `longest` the greatest; `acting_share` is the share of (step, agent)
pairs, up to the longest episode, in which the agent acts. REFIL's learner computes them all.

Networks of the paper (128, 4 heads, GRU 64, mixer 128/32), which are REFIL's. Timed is the update alone: no
environment, no replay, no trimming. REFIL's code is not part of this repository; `peers/refil.py` says what is put
around it. Each learner is a process of its own; they take turns. Figures are medians, ratios are REFIL's seconds over
ours.

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
import tempfile
from importlib.resources import files
from pathlib import Path

from peers import batches
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


def measure(repo: Path, algorithms: list[str], batch: Path, threads: int, repeats: int) -> dict[str, dict[str, float]]:
    """Median seconds of an update, median processor seconds, and slowest over fastest, by side."""
    peer = Side(PEER, "refil.py", ["update", "--repo", repo, "--batch", batch, "--threads", threads])
    turns = take_turns([peer, *ours("update", algorithms, threads, "--batch", batch)], repeats)
    measured = {}
    for name, found in turns.items():
        seconds = [turn["seconds"] for turn in found]
        measured[name] = {
            "seconds": statistics.median(seconds),
            "cpu_seconds": statistics.median(turn["cpu_seconds"] for turn in found),
            "spread": max(seconds) / min(seconds),
        }
    return measured


def compare(found: dict[str, dict[str, float]], kind: str, steps: int) -> dict[str, float]:
    """Print a row for each side; return the figures by names that no other batch has."""
    figures: dict[str, float] = {}
    peer, of_kind = found[PEER], "" if kind == "full" else f"_{kind}"
    for side, one in found.items():
        ratio, ratio_cpu = (peer[key] / one[key] for key in ("seconds", "cpu_seconds"))
        print(
            f"{kind:<8} {steps:>4} steps  {side:<12} {1 / one['seconds']:8.3f} updates/s  ratio {ratio:6.2f}  "
            f"ratio of cpu {ratio_cpu:6.2f}  cpu {one['cpu_seconds'] / one['seconds']:5.2f}  "
            f"spread {one['spread']:5.2f}",
            flush=True,
        )
        name = f"{side}{of_kind}"
        figures[f"{name}_updates_per_s_{steps}"] = round(1 / one["seconds"], 4)
        figures[f"{name}_spread_{steps}"] = round(one["spread"], 2)
        if side != PEER:
            figures[f"{name}_ratio_{steps}"] = round(ratio, 2)
            figures[f"{name}_ratio_cpu_{steps}"] = round(ratio_cpu, 2)
    return figures


def main() -> None:
    """Print a table; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, repeats=5)
    parser.add_argument("--steps", type=int, nargs="+", default=[60, 100], help="time limit of the episodes")
    parser.add_argument("--batch", nargs="+", choices=batches.KINDS, default=batches.KINDS, help="kinds of batch")
    parser.add_argument("--policy", choices=batches.POLICIES, default="attack_nearest", help="who plays the battles")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    for steps in options.steps:
        for kind in options.batch:
            batch = batches.full(steps) if kind == "full" else batches.battles(steps, options.policy)
            facts = batches.describe(batch)
            shown = ", ".join(f"{key} {value}" for key, value in facts.items())
            print(f"{kind:<8} {steps:>4} steps  {shown}", flush=True)
            figures |= {f"{kind}_{key}_{steps}": value for key, value in facts.items()}
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "batch.pt"
                batches.save(batch, path)
                found = measure(options.repo, options.algorithms, path, options.threads, options.repeats)
            figures |= compare(found, kind, steps)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
