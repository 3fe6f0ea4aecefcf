"""Does MIPI learn? The quickstart over seeds, with its ablations beside it.

    python benchmarks/learning.py run --jobs 2                 # all runs that are missing, two at a time
    python benchmarks/learning.py report                       # benchmarks/results/learning.{json,md}

Each run is `mipi train experiment=quickstart ...` in a folder of its own below `--outputs`; one that has a results.json
is not repeated. The report takes every run that was finished.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ALGORITHMS = ("mipi", "value", "entropy")
HELD_OUT = ("6", "7", "8")
RESULTS = Path(__file__).parent / "results"


def planned(seeds: list[int]) -> list[tuple[str, int]]:
    """Algorithm and seed of every run, the algorithms taking turns."""
    return [(algorithm, seed) for seed in seeds for algorithm in ALGORITHMS]


def run_one(algorithm: str, seed: int, outputs: Path, more: list[str]) -> None:
    """Train, unless it has been done."""
    if list(outputs.glob(f"marines__{algorithm}__{seed}/*/results.json")):
        return
    program = str(Path(sys.executable).parent / "mipi")
    chosen = [f"algorithm={algorithm}", f"seed={seed}", f"output_dir={outputs}", "threads=1", *more]
    log = outputs / f"{algorithm}_{seed}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        subprocess.run([program, "train", "experiment=quickstart", *chosen], stdout=out, stderr=out, check=True)


def curve(folder: Path, evaluation: str) -> list[tuple[int, float]]:
    """Frames and greedy win rate of every evaluation of a run."""
    with (folder / "evaluations.csv").open() as rows:
        return [
            (int(row["frames"]), float(row["win_rate"]))
            for row in csv.DictReader(rows)
            if row["evaluation"] == evaluation and row["level"] == "all"
        ]


def summarize(outputs: Path) -> dict[str, object]:
    """Final win rates by algorithm over seeds, and how far each fell below its best evaluation."""
    summary: dict[str, object] = {}
    for algorithm in ALGORITHMS:
        runs = []
        for path in sorted(outputs.glob(f"marines__{algorithm}__*/*/results.json")):
            found = json.loads(path.read_text())
            best = max(rate for _, rate in curve(path.parent, "training"))
            held_out = [found["held_out"][size]["win_rate"] for size in HELD_OUT]
            runs.append(
                {
                    "seed": found["seed"],
                    "before": found["before"]["training"]["win_rate"],
                    "3-5": found["training"]["win_rate"],
                    **dict(zip(HELD_OUT, held_out, strict=True)),
                    "6-8": statistics.mean(held_out),
                    "best_3-5": best,
                    "updates": found["updates"],
                    "frames": found["frames"],
                    "seconds": round(found["seconds"]),
                    "commit": found["commit"],
                }
            )
        columns = ("before", "3-5", *HELD_OUT, "6-8", "best_3-5", "seconds")
        mean = {c: round(statistics.mean(run[c] for run in runs), 3) for c in columns} if runs else {}
        spread = {c: round(statistics.stdev(run[c] for run in runs), 3) for c in columns} if len(runs) > 1 else {}
        summary[algorithm] = {"runs": runs, "mean": mean, "standard_deviation": spread}
    return summary


def as_markdown(summary: dict[str, object]) -> str:
    """One row per algorithm: mean and standard deviation over seeds."""
    columns = ("before", "3-5", *HELD_OUT, "6-8", "best_3-5")
    lines = ["| algorithm | seeds | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for algorithm, found in summary.items():
        mean, spread = found["mean"], found["standard_deviation"]
        cells = [f"{mean[c]:.2f} ± {spread.get(c, float('nan')):.2f}" if mean else "-" for c in columns]
        lines.append(f"| {algorithm} | {len(found['runs'])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


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
    (RESULTS / "learning.md").write_text(as_markdown(summary) + "\n")
    print(as_markdown(summary))
    print(json.dumps({name: found["mean"] for name, found in summary.items()}))


if __name__ == "__main__":
    main()
