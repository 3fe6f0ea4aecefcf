"""Win rate by processor time: a Markdown table of finished runs, and a CSV with a row per run.

    mipi train -m experiment=cpu algorithm=mipi_ppo,mipi seed=0,1,2 threads=1
    python benchmarks/learning.py outputs --minutes 1 3 5 --table benchmarks/results/learning.csv

The processor time of an evaluation is estimated from its frames: the share of the run's frames collected by then is
taken as the share of the run's processor time, which includes the evaluations. The score at a given minute is that of
the last evaluation before it; the final score is the one that the run reports. Runs that differ only in their seed are
averaged, as in `mipi report`.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from of_runs import read_or_exit, spread

from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.reporting.groups import worlds_of
from mipi_pl.reporting.runs import Run, find_runs

Scores = tuple[float, float]
"""Win rate (or return) of a policy on the training teams, and its mean over the held-out teams."""


def processor_minutes(run: Run) -> float:
    """Returns the processor minutes of the whole run."""
    return float(json.loads((run.folder / "results.json").read_text(encoding="utf-8"))["processor_seconds"]) / 60


def scores_at(run: Run, minutes: float) -> Scores | None:
    """Returns the scores at the last evaluation within so many processor minutes; None if there was none."""
    within = run.frames * minutes / processor_minutes(run)
    training = {point.frames: point.tally.score.value for point in run.curve if point.evaluation == TRAINING}
    reached = [frames for frames in training if 0 < frames <= within]
    if not reached:
        return None
    return training[max(reached)], run.held_out()[max(reached)]


def scores_of(run: Run, policy: str) -> dict[str, float]:
    """Returns the final scores of a policy, by evaluation."""
    return {name: played.total.score.value for name, played in run.policies[policy].items()}


def final(run: Run, policy: str = "trained") -> Scores:
    """Returns the final scores of a policy on the training teams and on average over the held-out teams."""
    by_evaluation = scores_of(run, policy)
    return by_evaluation.pop(TRAINING), mean(by_evaluation.values())


def over_seeds(by_seed: Sequence[Scores | None]) -> str:
    """Format a cell "training, held-out" of the table: means, and with several seeds their standard deviations."""
    known = [scores for scores in by_seed if scores is not None]
    if not known:
        return ""
    parts = zip(*known, strict=True)
    return ", ".join(spread(part) for part in parts)


def table(runs: Sequence[Run], minutes: Sequence[float]) -> list[str]:
    """Returns the table: a row per task and group of seeds, and per scripted policy; cells are "training, held-out"."""
    heads = ["task", "", "seeds", "frames", "processor minutes", *(f"{m:g} min" for m in minutes), "at the end"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for world in worlds_of(runs):
        for group in world.groups:
            took = [processor_minutes(run) for run in group.runs]
            cells = [world.label, f"`{group.label}`", str(len(took)), f"{mean(run.frames for run in group.runs):,.0f}"]
            cells.append(f"{mean(took):.1f}")
            cells += [over_seeds([scores_at(run, m) for run in group.runs]) if m < min(took) else "" for m in minutes]
            lines.append(f"| {' | '.join([*cells, over_seeds([final(run) for run in group.runs])])} |")
        for name in world.runs[0].policies:
            if name not in ("trained", "untrained"):
                cells = [world.label, f"`{name}`", *[""] * (3 + len(minutes)), over_seeds([final(world.runs[0], name)])]
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def write(runs: Sequence[Run], path: Path) -> None:
    """Write a CSV with a row per run: its origin, and the scores of its last policy by evaluation."""
    rows = [
        {
            "environment": run.environment,
            "algorithm": run.algorithm,
            "changes": run.config["run"].get("changes") or "",
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
    parser.add_argument("folders", type=Path, nargs="+", help="run folders, or folders that contain them")
    parser.add_argument(
        "--minutes", type=float, nargs="+", default=[1.0, 5.0, 15.0, 60.0], help="processor minutes, a column each"
    )
    parser.add_argument("--table", type=Path, help="write a row per run to this CSV")
    chosen = parser.parse_args()
    all_runs = read_or_exit(parser, find_runs, chosen.folders)
    runs = [run for run in all_runs if run.state == "finished"]
    for run in all_runs:
        if run not in runs:
            print(f"left out: {run.folder} ({run.state})")
    if not runs:
        parser.error(f"expected folders with finished runs, got none in {', '.join(map(str, chosen.folders))}")
    runs.sort(key=lambda run: (run.environment, run.algorithm, run.seed or 0))
    if chosen.table is not None:
        write(runs, chosen.table)
    print("\n".join(table(runs, chosen.minutes)))


if __name__ == "__main__":
    main()
