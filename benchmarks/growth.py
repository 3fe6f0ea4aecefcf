"""Frames per second and memory of whole runs as teams, environments and networks grow.

    python benchmarks/growth.py [--repeats 1] [--algorithms mipi_ppo mipi] [--quick]

Runs `mipi train experiment=cpu` on one core with one thread, varying one size at a time: the agents of a team (as many
enemies), the environments, and the width of the networks. On-policy, the number of steps in a rollout shrinks as the
environments grow, so that a rollout keeps 4,096 frames up to 256 environments; beyond, it has 16 steps and grows.
Off-policy stops at 256 environments: with more, a collection holds more episodes than the measured updates learn from.
Prints a Markdown table per size, and ends with a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys

from whole_runs import measure

TEAMS = (3, 5, 8, 12, 16, 27)
ENVIRONMENTS = (16, 64, 256, 1024, 4096)
WIDTHS = (32, 64, 128, 256)
ROLLOUT_FRAMES = 4096


def cases(algorithm: str) -> dict[str, dict[int, list[str]]]:
    """Returns the arguments of `mipi train` by size and value."""
    on_policy = algorithm in ("mipi_ppo", "mappo")

    def environments(count: int) -> list[str]:
        steps = [f"datamodule.rollout_steps={max(ROLLOUT_FRAMES // count, 16)}"] if on_policy else []
        return [f"datamodule.num_envs={count}", *steps]

    return {
        "agents": {n: [f"env.team_sizes=[{n}]", f"env.capacity={max(n, 8)}"] for n in TEAMS},
        "environments": {n: environments(n) for n in (ENVIRONMENTS if on_policy else ENVIRONMENTS[:3])},
        "width": {n: [f"network.width={n}", f"network.hidden={n}"] for n in WIDTHS},
    }


def main() -> None:
    """Print the tables and a final line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithms", nargs="+", default=["mipi_ppo", "mipi"], help="(default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each case; figures are medians")
    parser.add_argument("--quick", action="store_true", help="the two smallest values of each size, few updates")
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    for algorithm in options.algorithms:
        on_policy = algorithm in ("mipi_ppo", "mappo")
        updates, skip = (5, 2) if on_policy else (100, 5)
        for size, values in cases(algorithm).items():
            print(f"\n| {algorithm}, {size} | frames/s | frames/processor s | updates/s | peak MiB |")
            print("|---|---:|---:|---:|---:|")
            for value, overrides in list(values.items())[: 2 if options.quick else None]:
                arguments = ["experiment=cpu", f"algorithm={algorithm}", *overrides]
                runs = [measure(2 if options.quick else updates, arguments, skip=skip) for _ in range(options.repeats)]
                figures = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
                results[f"{algorithm}, {size} {value}"] = figures
                print(
                    f"| {value:,} | {figures['frames_per_s']:,.0f} | {figures['frames_per_core_s']:,.0f} | "
                    f"{figures['updates_per_s']:.2f} | {figures['peak_mib']:,.0f} |",
                    flush=True,
                )
    sys.stdout.flush()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
