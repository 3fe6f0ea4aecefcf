"""Figure 2(d) of the paper: the matrix game with three regularisers over five seeds, against the exact solutions.

    python benchmarks/matrix_game.py run        # mipi train -m experiment=matrix_game algorithm=.. seed=.., then report
    python benchmarks/matrix_game.py report     # benchmarks/results/matrix_game.csv, docs/matrix_game.png
    python benchmarks/matrix_game.py draw       # docs/matrix_game.png from that CSV

The report uses the newest finished run of each algorithm and seed below `--outputs`.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from omegaconf import OmegaConf

from mipi_pl.evaluation.curve import read_curve, while_learning
from mipi_pl.evaluation.seeds import mean_over_seeds
from mipi_pl.evaluation.statistics import Estimate
from mipi_pl.evaluation.style import legend_below, new_figure, styled
from mipi_pl.evaluation.tables import text_table, write_csv
from mipi_pl.theory.matrix_figure import STYLES, draw_exact, exact_entries, label_axes
from mipi_pl.theory.matrix_game import exact_payoffs

ROOT = Path(__file__).resolve().parent.parent
CSV, PICTURE = ROOT / "benchmarks/results/matrix_game.csv", ROOT / "docs/matrix_game.png"
REGULARIZERS = {"mipi": "mutual_information", "entropy": "entropy", "value": "none"}
"""Regulariser of each algorithm."""
HELD_OUT = "BB"


def run(outputs: Path, seeds: list[int], more: list[str]) -> None:
    """Train all runs one after the other, in one multirun."""
    program = str(Path(sys.executable).parent / "mipi")
    chosen = [f"algorithm={','.join(REGULARIZERS)}", f"seed={','.join(map(str, seeds))}", f"output_dir={outputs}"]
    subprocess.run([program, "train", "-m", "experiment=matrix_game", *chosen, *more], check=True)


def collect(outputs: Path) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Returns a row per evaluation of every run, and a row per run."""
    rows: list[dict[str, object]] = []
    runs: list[dict[str, object]] = []
    for algorithm in REGULARIZERS:
        newest = {path.parts[-3]: path for path in sorted(outputs.glob(f"matrix_game__{algorithm}__*/*/results.json"))}
        for path in newest.values():
            results = json.loads(path.read_text())
            head = {"algorithm": algorithm, "seed": results["seed"]}
            points = read_curve(path.parent / "evaluations.csv", "return")
            finals = {"training": results["training"], HELD_OUT: results["held_out"][HELD_OUT]}
            rows += [
                {**head, "evaluation": evaluation, "frames": point.frames, "return": point.value.value}
                for evaluation, final in finals.items()
                for point in while_learning(points, evaluation, _estimate(final))
            ]
            ends = {evaluation: final["return"] for evaluation, final in finals.items()}
            runs.append({**head, **ends, "seconds": results["seconds"], "commit": results["commit"]})
    return rows, runs


def _estimate(scores: dict[str, float]) -> Estimate:
    return Estimate(scores["return"], scores["return_low"], scores["return_high"])


@styled
def draw(path: Path, rows: list[dict[str, object]]) -> None:
    """Draw means over seeds with their 95 % intervals, and the exact payoffs as lines."""
    game = OmegaConf.to_container(OmegaConf.load(ROOT / "configs/env/matrix_game.yaml"))
    assert isinstance(game, dict)
    trained = game["team_compositions"]
    exact = exact_payoffs(game["payoffs"], trained, 0.5)
    figure = new_figure(12.4, 4.6, dpi=110)
    panels = (
        ("training", trained, f"training teams {', '.join(trained)}"),
        (HELD_OUT, [HELD_OUT], "team BB, never seen"),
    )
    for place, (evaluation, teams, title) in enumerate(panels):
        axes = figure.add_subplot(1, 2, place + 1)
        draw_exact(axes, exact, teams)
        for algorithm, regularizer in REGULARIZERS.items():
            chosen = [row for row in rows if (row["algorithm"], row["evaluation"]) == (algorithm, evaluation)]
            _draw_curve(axes, chosen, STYLES[regularizer][1])
        label_axes(axes, title)
    learned = [
        (f"learned, {label}", Line2D([], [], color=colour, linewidth=2.0, marker="o", markersize=4))
        for label, colour, _ in STYLES.values()
    ]
    legend_below(figure, [*learned, *exact_entries()])
    figure.savefig(path)


def _draw_curve(axes: Axes, rows: list[dict[str, object]], colour: str) -> None:
    by_frames = defaultdict(list)
    for row in rows:
        # Runs overshoot their budgets by less than a batch of steps; rounding groups the same evaluation of all seeds.
        by_frames[round(float(row["frames"]) / 500) * 0.5].append(float(row["return"]))  # type: ignore[arg-type]
    x = sorted(by_frames)
    means = [mean_over_seeds(np.array(by_frames[at])) for at in x]
    axes.plot(x, [mean.value for mean in means], color=colour, linewidth=2.0, marker="o", markersize=4)
    low, high = [mean.low for mean in means], [mean.high for mean in means]
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def table(runs: list[dict[str, object]]) -> str:
    """Format the final returns of each algorithm: mean and standard deviation over seeds."""
    lines = []
    for algorithm in REGULARIZERS:
        chosen = [row for row in runs if row["algorithm"] == algorithm]
        cells = []
        for name in ("training", HELD_OUT):
            values = [float(row[name]) for row in chosen]  # type: ignore[arg-type]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.2f} +- {spread:.2f}" if values else "-")
        lines.append([algorithm, str(len(chosen)), *cells])
    return text_table(["algorithm", "seeds", "training", HELD_OUT], lines)


def main() -> None:
    """Train if asked to, then write the CSV and the picture and print the table; or only draw the picture again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", nargs="?", choices=("run", "report", "draw"), default="report", help="(default %(default)s)"
    )
    parser.add_argument("--outputs", type=Path, default=Path("outputs/matrix_game"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="seeds to train")
    arguments, more = parser.parse_known_args()
    if arguments.what == "draw":
        with CSV.open(newline="", encoding="utf-8") as file:
            draw(PICTURE, list(csv.DictReader(file)))
        return
    if arguments.what == "run":
        run(arguments.outputs, arguments.seeds, more)
    rows, runs = collect(arguments.outputs)
    if not runs:
        parser.exit(message=f"no finished run in {arguments.outputs}: `python {parser.prog} run` trains them\n")
    write_csv(CSV, rows)
    draw(PICTURE, rows)
    print(table(runs))
    print(json.dumps({"runs": runs}))


if __name__ == "__main__":
    main()
