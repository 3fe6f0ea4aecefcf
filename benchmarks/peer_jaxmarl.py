r"""Whole-loop speed and learning of our on-policy learners, compared with JaxMARL's recurrent IPPO and MAPPO on SMAX.

    git clone https://github.com/FLAIROx/JaxMARL PATH && git -C PATH checkout c793d09
    python -m venv VENV && VENV/bin/pip install 'PATH[algs]'
    python benchmarks/peer_jaxmarl.py learning --jaxmarl PATH --jaxmarl-python VENV/bin/python [--seconds 80]
    python benchmarks/peer_jaxmarl.py speed (the same) [--threads 2] [--quick]

Both sides train on the same armies, Stalkers and Zealots: 2s3z (5 against 5) and 3s5z (8 against 8). JaxMARL has its
published settings for SMAX, at its published width of 128 and at ours of 64. Our side is `experiment=cpu`, width 64,
hidden 64. Neither side evaluates or saves. A frame is one step of one environment. Every side is a process.

`learning` trains each side once for --seconds on a core of its own, as many sides at once as there are cores. The
default takes about 12 minutes on two cores. Its first table has the win rate of the exploring policy over the last
16,384 frames, which is one rollout of JaxMARL. Each side plays in its own world against that world's scripted enemy.
The two worlds differ in rules and difficulty, so a higher win rate does not mean a stronger policy.

`speed` lets the sides take turns of at least --seconds and at least one update, on --threads cores. The figures are
medians over the turns: frames per second of wall time and per processor second. On a busy machine, trust the latter.
Both commands print this table; that of `learning` has one turn per side.

Peak memory includes the compiler. The time for building and compiling is a column of its own and part of no other
figure.

Ends with a line of JSON: frames per processor second by side and map. The results replace those of the same command,
seconds of learning and number of cores in benchmarks/results/peer_jaxmarl.json. `--quick` compares IPPO with MIPI-PPO
on 2s3z within two minutes and writes only to a given --output. This repository contains no code of JaxMARL; our side is
this checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from bench import processor
from peers.loop_tables import TITLES, learning_table, speed_table, tables
from peers.turns import Report, Side, take_turns

from mipi_pl.storage import provenance

RESULT = Path(__file__).parent / "results" / "peer_jaxmarl.json"
MAPS = ("2s3z", "3s5z")
QUICK = ("mipi_ppo", "jaxmarl_ippo_64")
Start = Callable[[str, str, int], Side]
"""Starts the process of a side, given its name, a map and the number of threads."""


def starter(options: argparse.Namespace) -> Start:
    """Returns the function that starts a side."""

    def start(name: str, map_name: str, threads: int) -> Side:
        shared = ["--map", map_name, "--seconds", options.seconds]
        if name.startswith("jaxmarl"):
            _, algorithm, width = name.split("_")
            chosen = ["--jaxmarl", options.jaxmarl, "--algorithm", algorithm, "--width", width]
            return Side(name, "loop_jaxmarl.py", [*chosen, *shared], [], options.jaxmarl_python)
        chosen = ["--algorithm", name, "--width", "64", "--threads", threads]
        return Side(name, "loop_ours.py", [*chosen, *shared], [Path(__file__).resolve().parents[1]])

    return start


@contextmanager
def limited_to(cores: Sequence[int]) -> Iterator[None]:
    """Pin this thread to the cores, and set the thread counts that processes started meanwhile read."""
    before, allowed = dict(os.environ), os.sched_getaffinity(0)
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), str(len(cores)))
    if len(cores) == 1:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
        os.environ.clear()
        os.environ.update(before)


def summarize(turns: Sequence[Report]) -> dict[str, Any]:
    """Returns the figures of one side from its turns."""
    rates = [turn["frames"] / turn["cpu_seconds"] for turn in turns]
    return {
        "frames_per_s": round(statistics.median(turn["frames"] / turn["seconds"] for turn in turns), 1),
        "frames_per_cpu_s": round(statistics.median(rates), 1),
        "spread_per_cpu_s": round(max(rates) / min(rates), 2),
        "peak_memory_mib": turns[-1]["peak_memory_mib"],
        "build_s": turns[-1]["build_s"],
        "updates": sum(turn["updates"] for turn in turns),
        "curve": turns[-1]["curve"],
    }


def speed(options: argparse.Namespace, about: dict[str, Any]) -> list[dict[str, Any]]:
    """Let the sides take turns on each map; the facts of the sides are added to `about`."""
    start, rows = starter(options), []
    for map_name in options.maps:
        with limited_to(options.cores[: options.threads]):
            sides = [start(name, map_name, options.threads) for name in options.sides]
        for name, turns in take_turns(sides, options.repeats).items():
            about[name] = turns[-1]["about"]
            rows.append({"map": map_name, "side": name, **summarize(turns)})
    return rows


def learning(options: argparse.Namespace, about: dict[str, Any]) -> list[dict[str, Any]]:
    """Train every side on every map for one turn, each on a core of its own; see `speed`."""
    start, free = starter(options), SimpleQueue[int]()
    for core in options.cores:
        free.put(core)

    def train(cell: tuple[str, str]) -> dict[str, Any]:
        map_name, name = cell
        core = free.get()
        try:
            os.sched_setaffinity(0, [core])  # of this thread; the side inherits it
            side = start(name, map_name, 1)
            try:
                turn = side.turn()
            finally:
                side.end()
        finally:
            free.put(core)
        about[name] = turn["about"]
        return {"map": map_name, "side": name, **summarize([turn])}

    cells = [(map_name, name) for map_name in options.maps for name in options.sides]
    with limited_to(options.cores[:1]), ThreadPoolExecutor(len(options.cores)) as workers:
        return list(workers.map(train, cells))


def commit_of(checkout: Path) -> str | None:
    """Returns the commit of a checkout of the peer; None if it is not a Git repository."""
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def write(
    path: Path, what: str, rows: list[dict[str, Any]], options: argparse.Namespace, about: dict[str, Any]
) -> None:
    """Write the results to a file, and keep its other results."""
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kept[f"learning_{options.seconds:g}_s" if what == "learning" else f"speed_threads_{options.threads}"] = {
        "threads": options.threads,
        "commit": provenance.commit(),
        "jaxmarl_commit": commit_of(options.jaxmarl),
        "machine": {**provenance.machine(), "processor": processor()},
        "turn_s": options.seconds,
        "repeats": options.repeats,
        "sides": about,
        "rows": rows,
    }
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Returns the options, with `--quick` and the defaults filled in."""
    cores = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "learning"), help="what to compare")
    parser.add_argument("--jaxmarl", type=Path, required=True, help="a checkout of JaxMARL")
    parser.add_argument("--jaxmarl-python", required=True, help="a Python with the requirements of JaxMARL")
    parser.add_argument("--maps", nargs="+", choices=MAPS, default=list(MAPS), help="armies (default: both)")
    parser.add_argument("--sides", nargs="+", choices=TITLES, default=list(TITLES), help="sides (default: all)")
    parser.add_argument("--threads", type=int, default=len(cores), help="cores of `speed` (default: all)")
    parser.add_argument("--seconds", type=float, help="length of a turn (default: 5; of `learning`: 80)")
    parser.add_argument("--repeats", type=int, default=2, help="timed turns of each side in `speed`")
    parser.add_argument("--output", type=Path, help=f"file of results (default: benchmarks/results/{RESULT.name})")
    parser.add_argument("--quick", action="store_true", help="one update per turn of two sides on one map and core")
    options = parser.parse_args()
    options.cores = cores
    if not 1 <= options.threads <= len(cores):
        parser.error(f"--threads must be from 1 to the {len(cores)} cores of this process, got {options.threads}")
    if options.what == "learning":
        options.threads, options.repeats = 1, 1
    if options.quick:
        options.maps, options.sides, options.threads = ["2s3z"], list(QUICK), 1
        options.seconds, options.repeats = options.seconds or 0.0, 1
    elif options.output is None:
        options.output = RESULT
    if options.seconds is None:
        options.seconds = 5.0 if options.what == "speed" else 80.0
    return options


def main() -> None:
    """Print the tables and write the results."""
    options, about = parse(), {}
    rows = (speed if options.what == "speed" else learning)(options, about)
    if options.what == "learning":
        print(tables(rows, "win rate in its own world", learning_table), end="\n\n")
    print(tables(rows, f"speed on {options.threads} core{'s' * (options.threads > 1)}", speed_table))
    if options.output is not None:
        write(options.output, options.what, rows, options, about)
    print(json.dumps({f"{row['side']}_{row['map']}_frames_per_cpu_s": row["frames_per_cpu_s"] for row in rows}))


if __name__ == "__main__":
    main()
