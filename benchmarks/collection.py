"""Speed of collecting during the updates against in turns with them, and in worker processes against in one process.

    python benchmarks/collection.py [--threads 1] [--windows 12] [--quick]

The compared modes take turns, window by window, so that other load on the machine affects all of them alike. The
output has the median and the minimum over the windows. On a busy machine the minimum is more reliable.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "references"))

from slow_world import STEP_S, SlowWorld
from worlds import drive, small_mipi

from mipi_pl.callbacks.imaginary_partition import ImaginaryPartition
from mipi_pl.datamodules.replay import ReplayDataModule
from mipi_pl.run.build import build
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve
from mipi_pl.utils.threads import set_threads

QUICKSTART = ["experiment=quickstart", "algorithm=mipi"]


def learning(overrides: list[str], overlap: bool, updates: int) -> Callable[[], float]:
    """Returns a function that makes some updates, collects the episodes for them, and returns the seconds taken."""
    config = resolve(compose([*overrides, f"datamodule.overlap={str(overlap).lower()}"]))
    torch.manual_seed(0)
    data = build("datamodule", config["datamodule"])
    algorithm = build("algorithm", config["algorithm"], spec=data.env.entity_spec)
    data.connect(algorithm.actor(greedy=False, seed=0))
    partition = ImaginaryPartition()

    def window() -> float:
        start_s = time.perf_counter()
        for _ in range(updates):
            batch = data.next_batch()
            partition.on_train_batch_start(None, algorithm, batch, 0)
            drive(algorithm, [batch])
        data.settle()
        return time.perf_counter() - start_s

    return window


def slow_world(collector: str, workers: int, collections: int) -> tuple[Callable[[], float], ReplayDataModule]:
    """Returns a function that collects several times in a slow world and returns the seconds taken, and its data."""
    data = ReplayDataModule(SlowWorld, num_envs=4, batch_size=4, collector=collector, workers=workers)
    data.connect(small_mipi(data.env.entity_spec).actor(greedy=False))

    def window() -> float:
        start_s = time.perf_counter()
        for _ in range(collections):
            data.collect()
        return time.perf_counter() - start_s

    return window, data


def in_turns(ways: dict[str, Callable[[], float]], windows: int) -> dict[str, list[float]]:
    """Returns the seconds of each window of each mode, without the first window, which warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(windows + 1):
        for name, window in ways.items():
            spent_s = window()
            if number:
                seconds[name].append(spent_s)
    return seconds


def report(title: str, seconds: dict[str, list[float]]) -> dict[str, float]:
    """Print the times, and return the speed-up of every other mode over the first one."""
    (first, base), *others = seconds.items()
    print(f"{title}\n  {first}: median {statistics.median(base):.3f} s, least {min(base):.3f} s")
    ratios = {}
    for name, spent in others:
        median, least = statistics.median(base) / statistics.median(spent), min(base) / min(spent)
        print(
            f"  {name}: median {statistics.median(spent):.3f} s, least {min(spent):.3f} s; "
            f"{median:.2f} and {least:.2f} times as fast"
        )
        ratios |= {
            f"{title}, {name}, ratio of medians": round(median, 3),
            f"{title}, {name}, ratio of least": round(least, 3),
        }
    return ratios


def main() -> None:
    """Print all comparisons and a final line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of the collector and of the learner, each")
    parser.add_argument("--windows", type=int, default=12, help="timed windows of each mode")
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that it runs")
    options = parser.parse_args()
    set_threads(options.threads)
    windows = 1 if options.quick else options.windows
    tiny = ["debug=tiny"] if options.quick else []
    ratios: dict[str, float] = {}
    for title, overrides, updates in (
        ("quickstart", [*QUICKSTART, *tiny], 8),
        ("paper's sizes, sz", ["env=sz", "network=refil", *tiny], 1),
        ("many battles per update", [*QUICKSTART, "datamodule.updates_per_episode=0.1", *tiny], 2),
    ):
        ways = {name: learning(overrides, name == "overlap", updates) for name in ("in turns", "overlap")}
        ratios |= report(title, in_turns(ways, windows))
    inline, _ = slow_world("inline", 1, 1)
    two, data = slow_world("processes", 2, 1)
    title = f"world of {1000 * STEP_S:g} ms a step"
    ratios |= report(title, in_turns({"inline": inline, "2 processes": two}, windows))
    data.teardown("fit")
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
