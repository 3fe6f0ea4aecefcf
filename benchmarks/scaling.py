"""Frames per second of whole runs with one process and with several, on-policy and off-policy.

    python benchmarks/scaling.py [--processes 1 2] [--rollouts 15] [--updates 200] [--repeats 3] [key=value ...]

Runs `mipi train experiment=cpu` with MIPI-PPO and MIPI on n processes of one thread each. Each process has its own
batch and battles, so with perfect scaling updates/s stay the same and frames/s grow with the number of processes. The
numbers of processes take turns, and the figures are medians. Ends with a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics

from whole_runs import measure


def main() -> None:
    """Print a line per algorithm and number of processes and a final line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 2], help="the first is compared with the others"
    )
    parser.add_argument("--rollouts", type=int, default=15, help="updates of MIPI-PPO to measure (default %(default)s)")
    parser.add_argument("--updates", type=int, default=200, help="updates of MIPI to measure (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each number (default %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="arguments of mipi train")
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    for algorithm, updates in (("mipi_ppo", options.rollouts), ("mipi", options.updates)):
        arguments = ["experiment=cpu", f"algorithm={algorithm}", *options.overrides]
        turns: dict[int, list[dict[str, float]]] = {number: [] for number in options.processes}
        for _ in range(options.repeats):
            for number in options.processes:
                turns[number].append(measure(updates, arguments, processes=number))
        first = options.processes[0]
        ratios = {
            number: statistics.median(
                turn["frames_per_s"] / base["frames_per_s"]
                for turn, base in zip(turns[number], turns[first], strict=True)
            )
            for number in options.processes
        }
        for number, each in turns.items():
            figures = {key: statistics.median(turn[key] for turn in each) for key in each[0]}
            results[f"{algorithm}, {number} processes"] = figures | {f"ratio_to_{first}": round(ratios[number], 2)}
            print(
                f"{algorithm}, {number} processes of 1 thread: {figures['frames_per_s']:,.0f} frames/s, "
                f"{ratios[number]:.2f} times {first}; {figures['updates_per_s']:.2f} updates/s, "
                f"{figures['peak_mib']:,.0f} MiB",
                flush=True,
            )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
