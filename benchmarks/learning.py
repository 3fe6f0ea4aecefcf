"""Win rate by processor time: a Markdown table of finished runs, and a CSV with a row per run.

    mipi train -m experiment=cpu algorithm=mipi_ppo,mipi seed=0,1,2 threads=1
    python benchmarks/learning.py outputs --minutes 1 3 5 --table benchmarks/results/learning.csv

The processor time of an evaluation is estimated from its frames: the share of the run's frames collected by then is
taken as the share of the run's processor time, which includes the evaluations. The score at a given minute is that of
the last evaluation before it; the final score is the one that the run reports. Runs that differ only in their seed are
averaged, as in `mipi report`. A dash stands for what a run does not have: held-out teams, or its processor time.
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

Scores = tuple[float, float | None]
"""Win rate (or return) of a policy on the training teams, and its mean over the held-out teams; None without any."""
UNKNOWN = "-"


def processor_minutes(run: Run) -> float | None:
    """Returns the processor minutes of the whole run; None for a run of a version that did not count them."""
    seconds = json.loads((run.folder / "results.json").read_text(encoding="utf-8")).get("processor_seconds")
    return None if seconds is None else float(seconds) / 60


def scores_at(run: Run, share: float) -> Scores | None:
    """Returns the scores at the last evaluation within a share of the run's frames; None if there was none."""
    within = run.frames * share
    training = {point.frames: point.tally.score.value for point in run.curve if point.evaluation == TRAINING}
    reached = [frames for frames in training if 0 < frames <= within]
    if not reached:
        return None
    return training[max(reached)], run.held_out().get(max(reached))


def scores_of(run: Run, policy: str) -> dict[str, float]:
    """Returns the final scores of a policy, by evaluation."""
    return {name: played.total.score.value for name, played in run.policies[policy].items()}


def final(run: Run, policy: str = "trained") -> Scores:
    """Returns the final scores of a policy on the training teams and on average over the held-out teams."""
    by_evaluation = scores_of(run, policy)
    training = by_evaluation.pop(TRAINING)
    return training, mean(by_evaluation.values()) if by_evaluation else None


def over_seeds(by_seed: Sequence[Scores | None]) -> str:
    """Format a cell "training, held-out" of the table: means, and with several seeds their standard deviations."""
    known = [scores for scores in by_seed if scores is not None]
    if not known:
        return ""
    parts = zip(*known, strict=True)
    return ", ".join(UNKNOWN if None in part else spread(part) for part in parts)


def by_minutes(runs: Sequence[Run], minutes: Sequence[float]) -> list[str]:
    """Returns cells of seeds: their mean processor minutes, and the scores at those `minutes` that all of them had."""
    took = [processor_minutes(run) for run in runs]
    known = [number for number in took if number is not None]
    if len(known) < len(runs):
        return [UNKNOWN, *("" for _ in minutes)]
    scores = ([scores_at(run, m / whole) for run, whole in zip(runs, known, strict=True)] for m in minutes)
    return [
        f"{mean(known):.1f}",
        *(over_seeds(at) if m < min(known) else "" for m, at in zip(minutes, scores, strict=True)),
    ]


def table(runs: Sequence[Run], minutes: Sequence[float]) -> list[str]:
    """Returns the table: a row per task and group of seeds, and per scripted policy; cells are "training, held-out"."""
    heads = ["task", "", "seeds", "frames", "processor minutes", *(f"{m:g} min" for m in minutes), "at the end"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for world in worlds_of(runs):
        for group in world.groups:
            members = group.runs
            cells = [world.label, f"`{group.label}`", str(len(members)), f"{mean(run.frames for run in members):,.0f}"]
            cells += by_minutes(members, minutes)
            lines.append(f"| {' | '.join([*cells, over_seeds([final(run) for run in members])])} |")
        for name in world.runs[0].policies:
            if name not in ("trained", "untrained"):
                cells = [world.label, f"`{name}`", *[""] * (3 + len(minutes)), over_seeds([final(world.runs[0], name)])]
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def write(runs: Sequence[Run], path: Path) -> None:
    """Write a CSV with a row per run: its origin, and the scores of its last policy by evaluation."""
    took = [processor_minutes(run) for run in runs]
    rows = [
        {
            "environment": run.environment,
            "algorithm": run.algorithm,
            "changes": run.config.get("run", {}).get("changes") or "",
            "seed": run.seed,
            "frames": run.frames,
            "updates": run.updates,
            "processor_minutes": "" if whole is None else round(whole, 2),
            "commit": (run.commit or "?")[:7],
            **{name: round(score, 4) for name, score in scores_of(run, "trained").items()},
        }
        for run, whole in zip(runs, took, strict=True)
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
