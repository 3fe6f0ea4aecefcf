"""Updates per second of our learners, compared with REFIL's own code on the same machine, batch and network sizes.

    git clone https://github.com/shariqiqbal2810/REFIL PATH && git -C PATH checkout ffe23a1c
    python benchmarks/peer_refil.py --repo PATH [--threads 2] [--repeats 5] [--steps 60 100] [--batch full battles]

There are two kinds of batch, each of 32 episodes with 8 agents and 8 enemies. All learners get the same file:

* `full`: synthetic, 36 features, 14 actions. Every agent acts up to the time limit. This is the worst case for a
  learner that computes only the steps that were played, because it can skip nothing.
* `battles`: the first battle in each of 32 environments of our own world (`env=sz env.team_sizes=[8]`, 30 features, 14
  actions), with `--steps` as the time limit. Units die and episodes end early, as in any replay. `--policy` chooses the
  scripted policy. The default, `attack_nearest`, is the least favourable to us: its `acting_share` at 60 and 100 steps
  is 0.63 and 0.44, that of `focus_fire` is 0.61 and 0.38, and that of `random` (the first content of a replay) is 0.56
  and 0.37.

`length` is the mean length of the episodes and `longest` the length of the longest. `acting_share` is the share of
(step, agent) pairs, up to the longest episode, in which the agent acts. REFIL's learner computes all pairs.

The networks are those of the paper (128, 4 heads, GRU 64, mixer 128/32), which are REFIL's. Only the update is timed:
no environment, no replay, no trimming. REFIL's code is not part of this repository; `peers/refil.py` documents the code
around it. Each learner is a separate process, and they take turns. Figures are medians, ratios are REFIL's seconds over
ours.

Taking turns is not enough on a busy machine. With as many threads as cores, one other busy process makes PyTorch's
threads wait for each other, and an update becomes many times slower on one side only. `spread` (slowest over fastest
turn) and `cpu` (processor seconds over wall seconds) show this: trust a ratio only if the spreads are near 1. On a busy
machine use --threads 1 and compare `ratio of cpu`, the ratio of processor seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from importlib.resources import files
from pathlib import Path

from peers import batches
from peers.turns import Side, take_turns

from mipi_pl.utils.cores import usable_cores

PEER = "refil_own"
PRECISIONS = {"": "32-true", "_bf16": "bf16-mixed"}
"""Suffix of an algorithm's name for each precision."""


def ours(what: str, algorithms: list[str], threads: int, *more: object) -> list[Side]:
    """Start a process for each of our algorithms in each precision."""
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
    """Add the options that both comparisons with REFIL share."""
    known = [name for name in ("mipi", "refil") if (files("mipi_pl.configs") / "algorithm" / f"{name}.yaml").is_file()]
    parser.add_argument("--repo", type=Path, required=True, help="a checkout of REFIL")
    parser.add_argument("--algorithms", nargs="+", default=known, help="our algorithms to compare")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="PyTorch threads of each side")
    parser.add_argument("--repeats", type=int, default=repeats, help="timed turns of each side")


def measure(repo: Path, algorithms: list[str], batch: Path, threads: int, repeats: int) -> dict[str, dict[str, float]]:
    """Returns for each side the median seconds and processor seconds of an update, and slowest over fastest."""
    peer = Side(PEER, "refil.py", ["update", "--repo", repo, "--batch", batch, "--threads", threads])
    turns = take_turns([peer, *ours("update", algorithms, threads, "--batch", batch)], repeats)
    measured = {}
    for name, reports in turns.items():
        seconds = [turn["seconds"] for turn in reports]
        measured[name] = {
            "seconds": statistics.median(seconds),
            "cpu_seconds": statistics.median(turn["cpu_seconds"] for turn in reports),
            "spread": max(seconds) / min(seconds),
        }
    return measured


def compare(measured: dict[str, dict[str, float]], kind: str, steps: int) -> dict[str, float]:
    """Print a row per side, and return the figures under names that are unique to this batch."""
    figures: dict[str, float] = {}
    peer, suffix = measured[PEER], "" if kind == "full" else f"_{kind}"
    for side, times in measured.items():
        ratio, ratio_cpu = (peer[key] / times[key] for key in ("seconds", "cpu_seconds"))
        print(
            f"{kind:<8} {steps:>4} steps  {side:<12} {1 / times['seconds']:8.3f} updates/s  ratio {ratio:6.2f}  "
            f"ratio of cpu {ratio_cpu:6.2f}  cpu {times['cpu_seconds'] / times['seconds']:5.2f}  "
            f"spread {times['spread']:5.2f}",
            flush=True,
        )
        name = f"{side}{suffix}"
        figures[f"{name}_updates_per_s_{steps}"] = round(1 / times["seconds"], 4)
        figures[f"{name}_spread_{steps}"] = round(times["spread"], 2)
        if side != PEER:
            figures[f"{name}_ratio_{steps}"] = round(ratio, 2)
            figures[f"{name}_ratio_cpu_{steps}"] = round(ratio_cpu, 2)
    return figures


def main() -> None:
    """Print a table and a final line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, repeats=5)
    parser.add_argument("--steps", type=int, nargs="+", default=[60, 100], help="time limits of the episodes, in steps")
    parser.add_argument("--batch", nargs="+", choices=batches.KINDS, default=batches.KINDS, help="kinds of batch")
    parser.add_argument("--policy", choices=batches.POLICIES, default="attack_nearest", help="policy of the battles")
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
                measured = measure(options.repo, options.algorithms, path, options.threads, options.repeats)
            figures |= compare(measured, kind, steps)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
