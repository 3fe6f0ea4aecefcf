"""Is the price of information worth it? MIPI-PPO by alpha: divergence from the marginal, win rates, and their gap.

    mipi reproduce prices --scale cpu --tasks SZ --jobs 2
    python benchmarks/price.py outputs/reproduce/cpu [--table prices.csv] [--picture price.png]

Reads finished runs of `algorithm=mipi_ppo` and prints, for each environment, a table with a row per alpha. KL is the
divergence of the policy from the marginal in nats per decision, on the rollouts of the last tenth of training. The gap
is the mean score on held-out teams minus that on the training teams. P(better than 0) is the probability that a seed
scores higher than one of alpha = 0 on the held-out teams, with its 95 % interval. The picture shows KL against the gap.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from of_runs import read_or_exit, spread

from mipi_pl.evaluation.seeds import probability_of_improvement
from mipi_pl.evaluation.style import dress, legend_below, line_style, new_figure, styled
from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.reporting.groups import settings
from mipi_pl.reporting.runs import Run, find_runs
from mipi_pl.utils.errors import UserError

PRICE = ("algorithm.alpha", "algorithm.agent.own_entity_only")
LEARNER = ("algorithm", "datamodule", "callbacks.learning_rate", "total_frames")
"""Settings that all runs of a table share, but for the price."""
KL, ENTROPY = "train/policy/kl_to_marginal", "train/policy/entropy"


@dataclass(frozen=True)
class Priced:
    """One run: its price, its divergence and entropy in nats per decision, and its final scores by evaluation."""

    environment: str
    alpha: float
    seed: int | None
    kl: float
    entropy: float
    scores: dict[str, float]
    commit: str

    @property
    def held_out(self) -> float:
        """Mean score on the held-out teams."""
        return mean(score for name, score in self.scores.items() if name != TRAINING)

    @property
    def gap(self) -> float:
        """Mean score on the held-out teams minus that on the training teams."""
        return self.held_out - self.scores[TRAINING]


def alpha_of(run: Run) -> float:
    """Returns the price of a run; infinity if its agents see only themselves."""
    algorithm = run.config["algorithm"]
    return math.inf if algorithm["agent"].get("own_entity_only") else float(algorithm["alpha"])


def last_tenth(run: Run, column: str) -> float:
    """Returns the mean of a metric over the last tenth of the rows that have it."""
    with (run.folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        values = [float(row[column]) for row in csv.DictReader(file) if row.get(column)]
    return mean(values[-max(1, len(values) // 10) :])


def chosen_runs(folders: Sequence[Path]) -> list[Run]:
    """Returns the newest finished run with a price of each environment, alpha and seed, sorted by these.

    Raises:
        UserError: if a folder has no run, no run has a price, or runs of one environment differ in more than the price.
    """
    newest: dict[tuple[str, float, int], Run] = {}
    for run in sorted(find_runs(folders), key=lambda run: run.precedence):
        priced = run.algorithm == "mipi_ppo" and run.config["algorithm"]["regularizer"] == "mutual_information"
        if run.state == "finished" and priced:
            newest[run.environment, alpha_of(run), run.seed or 0] = run
    if not newest:
        where = ", ".join(map(str, folders))
        raise UserError(f"expected finished runs of algorithm=mipi_ppo with a marginal policy, got none in {where}")
    for environment in {environment for environment, *_ in newest}:
        protocols = [dict(settings(run.config, LEARNER)) for run in newest.values() if run.environment == environment]
        keys = sorted({key for protocol in protocols for key in protocol} - set(PRICE))
        if differing := [key for key in keys if len({protocol.get(key) for protocol in protocols}) > 1]:
            raise UserError(
                f"the runs of {environment} differ in more than the price, in {', '.join(differing[:5])}: "
                "name the folders of one protocol"
            )
    return [run for _, run in sorted(newest.items(), key=lambda item: item[0])]


def read(folders: Sequence[Path]) -> list[Priced]:
    """Returns what the table needs of each of `chosen_runs`."""
    return [
        Priced(
            run.environment,
            alpha_of(run),
            run.seed,
            last_tenth(run, KL),
            last_tenth(run, ENTROPY),
            {name: played.total.score.value for name, played in run.policies["trained"].items()},
            (run.commit or "?")[:7],
        )
        for run in chosen_runs(folders)
    ]


def by_alpha(runs: Sequence[Priced]) -> dict[float, list[Priced]]:
    """Returns the runs of each alpha, in increasing order of alpha."""
    found: dict[float, list[Priced]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.alpha):
        found[run.alpha].append(run)
    return dict(found)


def text_of(alpha: float) -> str:
    """Returns alpha as text."""
    return "∞" if math.isinf(alpha) else f"{alpha:g}"


def better_than_free(runs: Sequence[Priced], free: Sequence[Priced]) -> str:
    """Format the probability that a seed scores higher on the held-out teams than one without a price."""
    if not free or runs[0].alpha == 0:
        return ""
    names = [name for name in free[0].scores if name != TRAINING]
    ours, theirs = (np.array([[run.scores[name] for name in names] for run in side]) for side in (runs, free))
    found = probability_of_improvement(ours, theirs)
    interval = "" if math.isnan(found.low) else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.value:.2f}{interval}"


def table(runs: Sequence[Priced]) -> list[str]:
    """Returns the table of one environment: a row per alpha."""
    heads = ["alpha", "seeds", "KL, nats", "entropy, nats", "training", "held-out", "gap", "P(better than 0)"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    groups = by_alpha(runs)
    for alpha, group in groups.items():
        columns = (
            [run.kl for run in group],
            [run.entropy for run in group],
            [run.scores[TRAINING] for run in group],
            [run.held_out for run in group],
            [run.gap for run in group],
        )
        cells = [text_of(alpha), str(len(group)), *map(spread, columns), better_than_free(group, groups.get(0.0, ()))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


@styled
def draw(path: Path, runs: Sequence[Priced]) -> None:
    """Draw a panel per environment: each run's divergence from the marginal against its generalization gap."""
    environments = sorted({run.environment for run in runs})
    alphas = list(by_alpha(runs))
    figure = new_figure(5.2 * len(environments) + 1, 4.4, dpi=110)
    entries = {}
    for place, environment in enumerate(environments):
        axes = figure.add_subplot(1, len(environments), place + 1)
        for alpha, group in by_alpha([run for run in runs if run.environment == environment]).items():
            colour, marker = line_style(alphas.index(alpha))
            drawn = axes.scatter(
                [run.kl for run in group], [run.gap for run in group], color=colour, marker=marker, s=42, zorder=3
            )
            entries[f"alpha {text_of(alpha)}"] = drawn
        axes.axhline(0.0, color="#999999", linewidth=0.8)
        axes.set_title(environment)
        axes.set_xlabel("divergence from the marginal, nats per decision")
        dress(axes, "held-out minus training win rate", is_rate=False)
    legend_below(figure, list(entries.items()))
    figure.savefig(path)


def write(runs: Sequence[Priced], path: Path) -> None:
    """Write a CSV with a row per run."""
    names = list(dict.fromkeys(name for run in runs for name in run.scores))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["environment", "alpha", "seed", "kl_nats", "entropy_nats", *names, "commit"])
        for run in runs:
            scores = [f"{run.scores[name]:.4f}" if name in run.scores else "" for name in names]
            head = [run.environment, text_of(run.alpha), run.seed, f"{run.kl:.4f}", f"{run.entropy:.4f}"]
            writer.writerow([*head, *scores, run.commit])


def main() -> None:
    """Print the tables; write the CSV and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="run folders, or folders that contain them")
    parser.add_argument("--table", type=Path, help="write a row per run to this CSV")
    parser.add_argument("--picture", type=Path, help="draw divergence against gap to this file")
    chosen = parser.parse_args()
    runs = read_or_exit(parser, read, chosen.folders)
    for environment in sorted({run.environment for run in runs}):
        print(f"\n{environment}\n\n" + "\n".join(table([run for run in runs if run.environment == environment])))
    if chosen.table:
        write(runs, chosen.table)
    if chosen.picture:
        draw(chosen.picture, runs)


if __name__ == "__main__":
    main()
