"""Frames per hour of our whole training loop, compared with REFIL's own code on SMAClite.

    git clone https://github.com/uoe-agents/smaclite PATH2 && git -C PATH2 checkout 0d6abbea
    pip install gymnasium scikit-learn rtree
    python benchmarks/peer_loop.py --repo PATH --smaclite PATH2 [--threads 2] [--repeats 5]

PATH is a checkout of REFIL as in `peer_refil.py`. Both sides play Stalkers and Zealots, 8 against 8, at most 150 steps,
in 8 environments, with batches of 32 episodes, one update per collected episode, the networks of the paper, epsilon 1
and no evaluations. The peer is REFIL's own runner (a process per environment), replay, controller and learner, on
SMAClite (map 3s5z) without its flat observations, which REFIL does not read. Our side is `mipi train` without
evaluations and checkpoints. A turn is 8 updates and the collection for them.

Frames per hour are the mean length of the episodes in the batches divided by the median seconds of an update, including
its share of the collection. Frames per core-hour use the processor seconds of all processes of a side instead. The two
sides play episodes of different lengths, so compare `episode_length` as well. `spread` is the slowest turn over the
fastest. On a busy machine use --threads 1 and only the ratio of `frames_per_core_h` (see `peer_refil.py`).
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
    """Returns the figures of one side from its turns."""
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
    """Print a table and a final line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, repeats=5)
    parser.add_argument("--smaclite", type=Path, required=True, help="a checkout of SMAClite")
    options = parser.parse_args()
    arguments = ["loop", "--repo", options.repo, "--smaclite", options.smaclite, "--threads", options.threads]
    sides = [Side(PEER, "refil.py", arguments), *ours("loop", options.algorithms, options.threads)]
    summaries = {name: summarize(turns) for name, turns in take_turns(sides, options.repeats).items()}
    figures: dict[str, float] = {}
    for name, summary in summaries.items():
        figures |= {f"{name}_{key}": value for key, value in summary.items()}
        text = ", ".join(f"{key} {value:,}" for key, value in summary.items())
        if name != PEER:
            for key in ("frames_per_h", "updates_per_h", "frames_per_core_h"):
                figures[f"{name}_ratio_{key}"] = ratio = round(summary[key] / summaries[PEER][key], 2)
                text += f", ratio of {key} {ratio}"
        print(f"{name:<12} {text}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
