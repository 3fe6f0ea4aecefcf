"""A panel of learning curves for each algorithm, every seed a line, and tables of how the runs ended.

    mipi train -m experiment=quickstart algorithm=mipi,refil seed=0,1 output_dir=outputs/curves
    python benchmarks/curves.py outputs/curves docs/algorithms.png benchmarks/results/algorithms.csv

Reads run folders of one world and refuses those of several; says which it leaves out. Runs of one algorithm with other
settings are algorithms of their own, as in `mipi report`, which has the intervals. Prints a Markdown table of means and
standard deviations over the seeds, as the paper has them.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path
from statistics import mean, stdev

from matplotlib.figure import Figure

from mipi_pl.evaluation.generalization import TRAINING
from mipi_pl.reporting.groups import World, worlds_of
from mipi_pl.reporting.run_folder import Run, find_runs

COLUMNS = 5
HELD_OUT = ("6", "7", "8")
"""The team sizes of the paper's tables; larger ones are columns of their own."""


def draw(world: World, path: Path) -> None:
    """Training teams solid, the mean of the held-out teams dashed."""
    columns = min(COLUMNS, len(world.groups))
    rows = math.ceil(len(world.groups) / columns)
    figure = Figure(figsize=(max(9.0, 2.5 * columns), 2.2 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in panels.flat[len(world.groups) :]:
        axes.set_visible(False)
    for axes, group in zip(panels.flat, world.groups, strict=False):
        for number, run in enumerate(group.runs):
            curve = {p.frames: p.tally.score.value for p in run.curve if p.evaluation == TRAINING}
            style = {"color": f"C{number}", "linewidth": 1.4}
            axes.plot([f / 1000 for f in curve], [*curve.values()], label=f"seed {run.seed}, training teams", **style)
            held_out = run.held_out()
            label = f"seed {run.seed}, held-out teams"
            axes.plot([f / 1000 for f in held_out], [*held_out.values()], linestyle="--", label=label, **style)
        axes.set(title=group.label, **({"ylim": (-0.03, 1.03)} if world.winnable else {}))
        axes.grid(alpha=0.3)
    figure.supxlabel("environment steps (thousands)")
    figure.supylabel(f"greedy {world.measure}")
    handles, labels = max((axes.get_legend_handles_labels() for axes in panels.flat), key=lambda found: len(found[0]))
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=90)


def tabulate(world: World, path: Path) -> None:
    """One row for each run: the last policy, and before it the untrained one, by evaluation."""
    rows: list[dict[str, str | int | float]] = []
    for label, run in ((group.label, run) for group in world.groups for run in group.runs):
        row: dict[str, str | int | float] = {"algorithm": label, "seed": run.seed or 0, "frames": run.frames}
        row |= {"updates": run.updates, "commit": (run.commit or "?")[:7]}
        for policy in ("untrained", "trained"):
            for name, played in run.policies[policy].items():
                row[f"{policy}_{name}"] = round(played.total.score.value, 4)
        rows.append(row)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def summary(world: World) -> list[str]:
    """Lines of Markdown: each algorithm's last policies, then the players that were not trained."""
    names = world.evaluations
    held_out = [name for name in names if name in HELD_OUT]
    heads = [*names, *([f"mean of {held_out[0]}-{held_out[-1]}"] if held_out else [])]
    lines = [f"| | seeds | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|"]

    def scores(run: Run, policy: str) -> list[float]:
        found = {name: played.total.score.value for name, played in run.policies[policy].items()}
        return [*(found[name] for name in names), *([mean(found[name] for name in held_out)] if held_out else [])]

    for group in world.groups:
        seeds = [scores(run, "trained") for run in group.runs]
        cells = [
            f"{mean(cell):.2f} ± {stdev(cell):.2f}" if len(cell) > 1 else f"{cell[0]:.2f}"
            for cell in zip(*seeds, strict=True)
        ]
        lines.append(f"| {group.label} | {len(seeds)} | {' | '.join(cells)} |")
    first = world.runs[0]
    others = [policy for policy in first.policies if policy not in ("trained", "untrained")]
    lines += [f"| `{name}` | | {' | '.join(f'{value:.2f}' for value in scores(first, name))} |" for name in others]
    return lines


def main() -> None:
    """Draw and tabulate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("picture", type=Path)
    parser.add_argument("table", type=Path)
    chosen = parser.parse_args()
    found = find_runs(chosen.folders)
    for run in found:
        if run.state != "finished":
            print(f"left out: {run.folder} ({run.state})")
    worlds = worlds_of(found)
    if len(worlds) != 1:
        names = ", ".join(world.label for world in worlds) or "none"
        parser.error(f"expected finished runs of one world in {', '.join(map(str, chosen.folders))}, found: {names}")
    (world,) = worlds
    for run in world.duplicates:
        print(f"left out: {run.folder} (another run of this seed counts)")
    draw(world, chosen.picture)
    tabulate(world, chosen.table)
    print("\n".join(summary(world)))


if __name__ == "__main__":
    main()
