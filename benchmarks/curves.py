"""Learning curves of finished runs: a CSV of all their evaluations, and a picture.

    python benchmarks/curves.py outputs [--table curves.csv] [--picture curves.png]
    python benchmarks/curves.py benchmarks/results/full.csv --picture docs/full.png

The picture has the win rate on the training teams and its mean over the held-out teams by frames, a line per run. The
diamond is the final evaluation, over more battles than the others. A table of an earlier call may be named beside or
instead of folders; where several have a run with the same environment, algorithm and seed, that of the folder counts,
or that of the last table. Settings are not told apart: name runs with other ones (--name) in a call of
their own.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean

from of_runs import parser_of, read_or_exit, tables_and_folders

from mipi_pl.evaluation.style import FINAL, dress, legend_below, line_style, new_figure, styled
from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.reporting.runs import Run, find_runs
from mipi_pl.utils.errors import UserError

Key = tuple[str, str, int]
"""Environment, algorithm and seed of a run."""


@dataclass(frozen=True)
class Point:
    """One evaluation of a run, with the 95 % interval of its win rate: a row of the CSV."""

    environment: str
    algorithm: str
    seed: int
    commit: str
    frames: int
    updates: int
    evaluation: str
    win_rate: float
    win_rate_low: float
    win_rate_high: float
    episodes: int

    @property
    def run(self) -> Key:
        """The run that was evaluated."""
        return self.environment, self.algorithm, self.seed


COLUMNS = [field.name for field in fields(Point)]


def read(paths: Sequence[Path], name: str | None = None) -> dict[Key, list[Point]]:
    """Returns the evaluations of each run in folders and tables, by frames.

    Args:
        paths: folders and tables.
        name: algorithm of the runs in folders; None takes it from their configs.

    Raises:
        UserError: if there is no finished run, one has no win rates on training and held-out teams or cannot be
            read, or a file is no table of this script.
    """
    tables, folders = tables_and_folders(paths)
    found: dict[Key, list[Point]] = {}
    for path in tables:
        found |= read_table(path)
    runs = [run for run in (find_runs(folders) if folders else ()) if run.state == "finished"]
    for run in sorted(runs, key=lambda run: run.precedence):  # of equal ones, the newest counts
        require_both(set(run.policies["trained"]) if run.winnable else set(), str(run.folder))
        points = points_of(run, name or run.algorithm)
        found[points[0].run] = points
    if not found:
        raise UserError(f"expected finished runs or a table of this script, got none in {', '.join(map(str, paths))}")
    return dict(sorted(found.items()))


def read_table(path: Path) -> dict[Key, list[Point]]:
    """Returns the evaluations of each run in a table that `write` made, by frames.

    Raises:
        UserError: if it is no such table, or a run in it has no win rates on training and held-out teams.
    """
    found: dict[Key, list[Point]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != COLUMNS:
            raise UserError(f"expected a table of this script with the columns {', '.join(COLUMNS)}, got {path}")
        for point in map(as_point, reader):
            found[point.run].append(point)
    for run, points in found.items():
        require_both({point.evaluation for point in points}, f"{', '.join(map(str, run))} in {path}")
    return dict(found)


def require_both(evaluations: set[str], name: str) -> None:
    """Check that a run has win rates on the training teams and on others.

    Raises:
        UserError: if it does not; the message calls it `name`.
    """
    if TRAINING not in evaluations or len(evaluations) < 2:
        raise UserError(f"expected runs with win rates on training and held-out teams, got {name}; leave it out")


def points_of(run: Run, algorithm: str) -> list[Point]:
    """Returns the evaluations of the greedy policy of a run, at least one.

    Raises:
        UserError: if they cannot be read.
    """
    path = run.folder / "evaluations.csv"
    head = {"environment": run.environment, "algorithm": algorithm, "seed": str(run.seed or 0)}
    head["commit"] = (run.commit or "?")[:7]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if (row["policy"], row["level"]) == ("greedy", "all")]
        points = [as_point({name: row[name] for name in COLUMNS if name in row} | head) for row in rows]
        if not points:
            raise ValueError("it has no evaluation of the greedy policy")
        return points
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot read {path} ({type(error).__name__}: {error}); leave it out") from error


def as_point(row: dict[str, str]) -> Point:
    """Returns the evaluation in a row of a CSV."""
    kinds = {"seed": int, "frames": int, "updates": int, "episodes": int}
    kinds |= dict.fromkeys(("win_rate", "win_rate_low", "win_rate_high"), float)
    return Point(**{name: kinds.get(name, str)(row[name]) for name in COLUMNS})


def write(runs: dict[Key, list[Point]], path: Path) -> None:
    """Write a CSV with a row per evaluation."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for points in runs.values():
            for point in points:
                writer.writerow({key: f"{x:.4f}" if type(x) is float else x for key, x in asdict(point).items()})


def curve(points: Sequence[Point], held_out: bool) -> list[tuple[float, float]]:
    """Returns the points in the order played: million frames, and win rate on the training or the held-out teams.

    The held-out teams are those that were played most often: a run may play some of them only at its start and end.
    """
    series: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        if (point.evaluation != TRAINING) is held_out:
            series[point.evaluation].append(point)
    longest = max(map(len, series.values()))
    whole = [points for points in series.values() if len(points) == longest]
    return [(same[0].frames / 1e6, mean(point.win_rate for point in same)) for same in zip(*whole, strict=True)]


@styled
def draw(path: Path, runs: dict[Key, list[Point]]) -> None:
    """Draw the curves of all runs in one picture, in a panel for the training teams and one for the others."""
    figure = new_figure(9.5, 3.6, dpi=110)
    panels, entries = figure.subplots(1, 2, sharey=True), {}
    for number, ((environment, algorithm, seed), points) in enumerate(runs.items()):
        colour, _ = line_style(number)
        for panel, held_out in zip(panels, (False, True), strict=True):
            *during, last = curve(points, held_out)
            (line,) = panel.plot(*zip(*during, strict=True), color=colour, linewidth=1.6)
            panel.plot(*last, color=colour, marker=FINAL, markersize=6)
            entries[f"{environment.upper()}, {algorithm}, seed {seed}"] = line
    for panel, title in zip(panels, ("training teams", "held-out teams, mean"), strict=True):
        panel.set_title(title)
        panel.set_xlabel("million frames")
        panel.set_xlim(left=0)
        dress(panel, "win rate" if panel is panels[0] else "", is_rate=True)
    legend_below(figure, list(entries.items()))
    figure.savefig(path)


def main() -> None:
    """Write the CSV and the picture."""
    parser = parser_of(__doc__, "evaluation", "the curves")
    parser.add_argument("--name", help="call the algorithm of the runs in folders by this name")
    chosen = parser.parse_args()
    runs = read_or_exit(parser, lambda paths: read(paths, chosen.name), chosen.paths)
    for (environment, algorithm, seed), points in runs.items():
        training, held_out = (curve(points, of_held_out)[-1][1] for of_held_out in (False, True))
        print(f"{environment}, {algorithm}, seed {seed}: {training:.2f} on the training teams, {held_out:.2f} held out")
    if chosen.table:
        write(runs, chosen.table)
    if chosen.picture:
        draw(chosen.picture, runs)


if __name__ == "__main__":
    main()
