"""How good a policy is after so many processor minutes: a Markdown table of finished runs, and a CSV of them all.

    mipi train -m experiment=cpu algorithm=mipi_ppo,mipi seed=0,1,2 threads=1
    python benchmarks/learning.py outputs --minutes 1 3 5 --table benchmarks/results/learning.csv

A run's evaluations are dated by its frames: their share at an evaluation is the share of its processor time, which is
that of everything it did, evaluations included. For a minute, the last evaluation before it counts; for the end, the
one that the run reports. Runs of one task and algorithm are averaged over their seeds.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.reporting.runs import Run, find_runs

Scores = tuple[float, float]
"""Of a policy: win rate (or return) on the training teams, and its mean over the held-out teams."""


def processor_minutes(run: Run) -> float:
    """That the whole run took."""
    return float(json.loads((run.folder / "results.json").read_text(encoding="utf-8"))["processor_seconds"]) / 60


def scores_at(run: Run, minutes: float) -> Scores | None:
    """At the last evaluation within so many processor minutes; None if there was none."""
    within = run.frames * minutes / processor_minutes(run)
    training = {point.frames: point.tally.score.value for point in run.curve if point.evaluation == TRAINING}
    reached = [frames for frames in training if 0 < frames <= within]
    if not reached:
        return None
    return training[max(reached)], run.held_out()[max(reached)]


def scores_of(run: Run, policy: str) -> dict[str, float]:
    """At the end, by evaluation."""
    return {name: played.total.score.value for name, played in run.policies[policy].items()}


def final(run: Run, policy: str = "trained") -> Scores:
    """At the end: on the training teams, and the mean of the held-out ones."""
    found = scores_of(run, policy)
    return found.pop(TRAINING), mean(found.values())


def over_seeds(found: Sequence[Scores | None]) -> str:
    """Training and held-out teams as a cell of the table: means, and with several seeds their standard deviations."""
    known = [scores for scores in found if scores is not None]
    if not known:
        return ""
    parts = zip(*known, strict=True)
    return ", ".join(f"{mean(part):.2f}" + (f" ± {stdev(part):.2f}" if len(part) > 1 else "") for part in parts)


def table(runs: Sequence[Run], minutes: Sequence[float]) -> list[str]:
    """A row for each task and algorithm, and for each scripted policy of a task: "training, mean of held-out"."""
    heads = ["task", "", "seeds", "frames", "processor minutes", *(f"{m:g} min" for m in minutes), "at the end"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for environment in sorted({run.environment for run in runs}):
        of_task = [run for run in runs if run.environment == environment]
        for algorithm in sorted({run.algorithm for run in of_task}):
            group = [run for run in of_task if run.algorithm == algorithm]
            took = [processor_minutes(run) for run in group]
            cells = [environment, f"`{algorithm}`", str(len(group)), f"{mean(run.frames for run in group):,.0f}"]
            cells.append(f"{mean(took):.1f}")
            cells += [over_seeds([scores_at(run, m) for run in group]) if m < min(took) else "" for m in minutes]
            lines.append(f"| {' | '.join([*cells, over_seeds([final(run) for run in group])])} |")
        for name in of_task[0].policies:
            if name not in ("trained", "untrained"):
                cells = [environment, f"`{name}`", *[""] * (3 + len(minutes)), over_seeds([final(of_task[0], name)])]
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def write(runs: Sequence[Run], path: Path) -> None:
    """A row for each run: where it comes from, and how its last policy did by evaluation."""
    rows = [
        {
            "environment": run.environment,
            "algorithm": run.algorithm,
            "seed": run.seed,
            "frames": run.frames,
            "updates": run.updates,
            "processor_minutes": round(processor_minutes(run), 2),
            "commit": (run.commit or "?")[:7],
            **{name: round(score, 4) for name, score in scores_of(run, "trained").items()},
        }
        for run in runs
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Print the table and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 5.0, 15.0, 60.0])
    parser.add_argument("--table", type=Path, help="write a row for each run to this CSV")
    chosen = parser.parse_args()
    found = find_runs(chosen.folders)
    runs = [run for run in found if run.state == "finished"]
    for run in found:
        if run not in runs:
            print(f"left out: {run.folder} ({run.state})")
    if not runs:
        parser.error(f"no finished run in {', '.join(map(str, chosen.folders))}")
    runs.sort(key=lambda run: (run.environment, run.algorithm, run.seed or 0))
    if chosen.table is not None:
        write(runs, chosen.table)
    print("\n".join(table(runs, chosen.minutes)))


if __name__ == "__main__":
    main()
