"""Does MIPI learn? The quickstart over seeds, with its ablations beside it.

    python benchmarks/learning.py run --jobs 2                 # all runs that are missing, two at a time
    python benchmarks/learning.py report                       # benchmarks/results/learning.{json,md}

Each run is `mipi train experiment=quickstart ...` in a folder of its own below `--outputs`; one that has a results.json
is not repeated. The report takes every run that was finished.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mipi_pl.evaluation.generalization import TRAINING
from mipi_pl.reporting.document import Table, as_markdown
from mipi_pl.reporting.run_folder import Run, find_runs

ALGORITHMS = ("mipi", "value", "entropy")
HELD_OUT = ("6", "7", "8")
COLUMNS = ("before", "3-5", *HELD_OUT, "6-8", "best_3-5")
RESULTS = Path(__file__).parent / "results"


def planned(seeds: list[int]) -> list[tuple[str, int]]:
    """Algorithm and seed of every run, the algorithms taking turns."""
    return [(algorithm, seed) for seed in seeds for algorithm in ALGORITHMS]


def run_one(algorithm: str, seed: int, outputs: Path, more: list[str]) -> None:
    """Train, unless it has been done."""
    if list(outputs.glob(f"sz__{algorithm}__{seed}/*/results.json")):
        return
    program = str(Path(sys.executable).parent / "mipi")
    chosen = [f"algorithm={algorithm}", f"seed={seed}", f"output_dir={outputs}", "threads=1", *more]
    log = outputs / f"{algorithm}_{seed}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        subprocess.run([program, "train", "experiment=quickstart", *chosen], stdout=out, stderr=out, check=True)


def summarize(outputs: Path) -> dict[str, dict[str, Any]]:
    """Final win rates by algorithm over seeds, and how far each fell below its best evaluation."""
    finished = [run for run in find_runs([outputs]) if run.state == "finished"] if outputs.is_dir() else []
    summary: dict[str, dict[str, Any]] = {}
    for algorithm in ALGORITHMS:
        rows = [_row(run) for run in finished if run.algorithm == algorithm]
        columns = (*COLUMNS, "seconds")
        mean = {c: round(statistics.mean(row[c] for row in rows), 3) for c in columns} if rows else {}
        spread = {c: round(statistics.stdev(row[c] for row in rows), 3) for c in columns} if len(rows) > 1 else {}
        summary[algorithm] = {"runs": rows, "mean": mean, "standard_deviation": spread}
    return summary


def _row(run: Run) -> dict[str, Any]:
    rates = {name: played.total.score.value for name, played in run.policies["trained"].items()}
    return {
        "seed": run.seed,
        "before": run.policies["untrained"][TRAINING].total.score.value,
        "3-5": rates[TRAINING],
        **{size: rates[size] for size in HELD_OUT},
        "6-8": statistics.mean(rates[size] for size in HELD_OUT),
        "best_3-5": max(point.tally.score.value for point in run.curve if point.evaluation == TRAINING),
        "updates": run.updates,
        "frames": run.frames,
        "seconds": round(run.seconds or 0),
        "commit": run.commit,
    }


def as_table(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """One row per algorithm: mean and standard deviation over seeds."""
    rows = []
    for algorithm, found in summary.items():
        mean, spread = found["mean"], found["standard_deviation"]
        cells = [f"{mean[c]:.2f} ± {spread.get(c, float('nan')):.2f}" if mean else "-" for c in COLUMNS]
        rows.append([algorithm, str(len(found["runs"])), *cells])
    return as_markdown([Table(["algorithm", "seeds", *COLUMNS], rows)])


def main() -> None:
    """Run or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("run", "report"), default="report")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/learning"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1)
    arguments, more = parser.parse_known_args()
    if arguments.what == "run":
        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(lambda run: run_one(*run, arguments.outputs, more), planned(arguments.seeds)))
    summary = summarize(arguments.outputs)
    if not any(found["runs"] for found in summary.values()):
        parser.exit(message=f"no finished run in {arguments.outputs}: `python {parser.prog} run` makes them\n")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "learning.json").write_text(json.dumps(summary, indent=2) + "\n")
    (RESULTS / "learning.md").write_text(as_table(summary))
    print(as_table(summary).rstrip())
    print(json.dumps({name: found["mean"] for name, found in summary.items()}))


if __name__ == "__main__":
    main()
