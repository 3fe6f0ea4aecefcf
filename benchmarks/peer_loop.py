"""Frames per hour of our whole training loop beside REFIL's own code fed by SMAClite.

    git clone https://github.com/uoe-agents/smaclite PATH2 && git -C PATH2 checkout 0d6abbea
    pip install gymnasium scikit-learn rtree
    python benchmarks/peer_loop.py --repo PATH --smaclite PATH2 [--threads 2] [--repeats 5]

PATH is a checkout of REFIL as in `peer_refil.py`. On both sides: Stalkers and Zealots, 8 against 8, at most 150
steps, 8 environments, batches of 32 episodes, one update per collected episode, networks of the paper, exploration at
its beginning (epsilon 1), no evaluations. The peer is REFIL's own runner (a process for each environment), replay,
controller and learner; SMAClite (map 3s5z) is without its flat observations, which REFIL does not read. Ours is what
`mipi train` runs, without evaluations and checkpoints. A turn is 8 updates and the collecting that they need.

Frames per hour: mean length of the episodes in the batches over the median seconds of an update with its share of the
collecting; per core-hour, over the processor seconds of all processes of a side. Episodes have the length that they
come to have, so look at `episode_length` beside the ratios, and at `spread` (slowest over fastest turn): on a busy
machine use --threads 1 and the ratio of `frames_per_core_h` alone (see `peer_refil.py`).
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from peer_refil import PEER, add_options, ours
from peers.turns import Report, Side, take_turns


def summarize(turns: Sequence[Report]) -> dict[str, float]:
    """Of one side."""
    each = [turn["seconds"] / turn["updates"] for turn in turns]
    seconds = statistics.median(each)
    collecting = sum(turn["seconds_collecting"] for turn in turns) / sum(turn["seconds"] for turn in turns)
    cpu_seconds = statistics.median(turn["cpu_seconds"] / turn["updates"] for turn in turns)
    length = statistics.mean(turn["length"] for turn in turns)
    return {
        "frames_per_h": round(3600 * length / seconds),
        "updates_per_h": round(3600 / seconds),
        "frames_per_core_h": round(3600 * length / cpu_seconds),
        "episode_length": round(length, 1),
        "collecting_share": round(collecting, 3),
        "spread": round(max(each) / min(each), 2),
    }


def main() -> None:
    """Print a table; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, repeats=5)
    parser.add_argument("--smaclite", type=Path, required=True, help="a checkout of SMAClite")
    options = parser.parse_args()
    its = ["loop", "--repo", options.repo, "--smaclite", options.smaclite, "--threads", options.threads]
    sides = [Side(PEER, "refil.py", its), *ours("loop", options.algorithms, options.threads)]
    found = {name: summarize(turns) for name, turns in take_turns(sides, options.repeats).items()}
    figures: dict[str, float] = {}
    for name, one in found.items():
        figures |= {f"{name}_{key}": value for key, value in one.items()}
        text = ", ".join(f"{key} {value:,}" for key, value in one.items())
        if name != PEER:
            for key in ("frames_per_h", "updates_per_h", "frames_per_core_h"):
                figures[f"{name}_ratio_{key}"] = ratio = round(one[key] / found[PEER][key], 2)
                text += f", ratio of {key} {ratio}"
        print(f"{name:<12} {text}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
