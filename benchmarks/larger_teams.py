"""Greedy win rates of finished runs in teams far larger than those of training.

    python benchmarks/larger_teams.py outputs/reproduce/cpu [--sizes 12 16 27] [--episodes 256] [--table larger.csv]

Evaluates checkpoints/last.ckpt of each finished run in the StarCraft tasks with `mipi eval`, once for each run, and
prints a table with a row per environment and group of runs. The evaluations are kept in the folder larger_teams/ of the
run folder, so the same command evaluates only what is new. The compositions are those of the task with more units of
the kinds that it has.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from of_runs import read_or_exit, spread

from mipi_pl.reporting.groups import worlds_of
from mipi_pl.reporting.runs import Run, find_runs

FOLDER = "larger_teams"
# SZ allows teams of any size. CSZ and MMM have up to two colossi or medivacs in teams of up to 8; here up to three.
GROUPS = {
    "sz": [],
    "csz": ["env.groups=[{types: [stalker, zealot], min: 3, max: 64}, {types: [colossus], min: 0, max: 3}]"],
    "mmm": ["env.groups=[{types: [marine, marauder], min: 3, max: 64}, {types: [medivac], min: 0, max: 3}]"],
}


def played(run: Run, sizes: Sequence[int], episodes: int) -> dict[str, float] | None:
    """Returns the scores by team size of an earlier evaluation with these sizes and episodes; None without one."""
    policy_s = (run.folder / "checkpoints" / "last.ckpt").stat().st_mtime  # changes if the run is trained longer
    for path in sorted((run.folder / FOLDER).glob("*/results.json"), reverse=True):
        if path.stat().st_mtime < policy_s:
            continue
        found = json.loads(path.read_text(encoding="utf-8"))["held_out"]
        if all(str(size) in found and found[str(size)]["episodes"] == episodes for size in sizes):
            return {str(size): found[str(size)]["win_rate"] for size in sizes}
    return None


def play(run: Run, sizes: Sequence[int], episodes: int) -> None:
    """Evaluate the last policy of a run."""
    listed = ",".join(map(str, sizes))
    words = [
        *(str(run.folder / "checkpoints" / "last.ckpt"), f"env.capacity={max(sizes)}", f"env.team_sizes=[{listed}]"),
        *(f"held_out.episodes={episodes}", "held_out.baselines=[]", f"output_dir={run.folder / FOLDER}", "threads=1"),
        *GROUPS[run.environment],
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mipi_pl", "eval", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{run.folder}: mipi eval ended with exit code {done.returncode}: {done.stderr.strip()}")


def main() -> None:
    """Evaluate what is missing, print the table, write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="run folders, or folders that contain them")
    parser.add_argument("--sizes", type=int, nargs="+", default=[12, 16, 27], help="team sizes (default: 12 16 27)")
    parser.add_argument("--episodes", type=int, default=256, help="battles per team size (default: %(default)s)")
    parser.add_argument("--table", type=Path, help="write a row per run to this CSV")
    chosen = parser.parse_args()
    found_runs = read_or_exit(parser, find_runs, chosen.folders)
    runs = [run for run in found_runs if run.environment in GROUPS and run.state == "finished"]
    if not runs:
        parser.error(
            f"expected finished runs of {', '.join(GROUPS)}, got none in {', '.join(map(str, chosen.folders))}"
        )
    sizes = [str(size) for size in chosen.sizes]
    print(f"| task | | seeds | {' | '.join(sizes)} |\n" + "|---" * (3 + len(sizes)) + "|")
    rows = []
    for world in worlds_of(runs):
        for group in world.groups:
            scores = []
            for run in group.runs:
                if played(run, chosen.sizes, chosen.episodes) is None:
                    play(run, chosen.sizes, chosen.episodes)
                found = played(run, chosen.sizes, chosen.episodes)
                assert found is not None
                scores.append(found)
                head = {"environment": run.environment, "group": group.label, "seed": run.seed}
                rows.append({**head, "commit": (run.commit or "?")[:7], **found})
            cells = [spread([found[size] for found in scores]) for size in sizes]
            print(f"| {world.label} | {group.label} | {len(scores)} | {' | '.join(cells)} |", flush=True)
    if chosen.table and rows:
        with chosen.table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
