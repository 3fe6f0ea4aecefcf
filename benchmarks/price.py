"""Is the price of information worth it? MIPI-PPO by price: divergence from the marginal, win rates, and their gap.

    mipi reproduce prices --scale cpu --tasks SZ --jobs 2
    python benchmarks/price.py outputs/reproduce/cpu [--table prices.csv] [--picture price.png]

Reads finished runs of `algorithm=mipi_ppo` and prints, for each environment, a table with a row per price: alpha, and
the part of a decision that it counts if that is not the whole. KL is the divergence of the policy from the marginal in
nats per decision, on the rollouts of the last tenth of training. The gap is the mean score on held-out teams minus that
on the training teams. P(better than 0) is the probability that a seed scores higher than one of alpha = 0 on the
held-out teams, with its 95 % interval; below the tables is its mean over the environments, for each price that all of
them have. The picture shows KL against the gap and against the held-out score.

A table of an earlier call, such as benchmarks/results/prices.csv, may be named beside or instead of folders. Where both
have a run with the same price and seed, that of the folder counts. Runs in folders that differ in more than the price
are refused; a table does not say how its runs were trained, so it is up to you to name one of the same protocol.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from of_runs import parser_of, read_or_exit, spread, tables_and_folders

from mipi_pl.evaluation.seeds import Array, mean_probability_of_improvement
from mipi_pl.evaluation.style import dress, legend_below, line_style, new_figure, styled
from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.reporting.groups import OF_LEARNER, OF_WORLD, settings
from mipi_pl.reporting.runs import Run, find_runs
from mipi_pl.utils.errors import UserError

PRICE = ("algorithm.alpha", "algorithm.priced", "algorithm.agent.own_entity_only")
"""Settings that runs of one environment may differ in."""
DIGITS = 4
"""Decimal places of a table. Runs are rounded alike, so that equal scores stay equal beside those of a table."""
COLUMNS = ("environment", "alpha", "part", "seed", "kl_nats", "entropy_nats", "commit")
"""Columns of a table; those of the evaluations come before the last one."""
KL, ENTROPY = "train/policy/kl_to_marginal", "train/policy/entropy"


@dataclass(frozen=True, order=True)
class Price:
    """What a decision costs: alpha, infinity if agents see only themselves; and the part that counts, "" for all."""

    alpha: float
    part: str = ""

    def __str__(self) -> str:
        alpha = "∞" if math.isinf(self.alpha) else f"{self.alpha:g}"
        return f"{alpha} ({self.part})" if self.part else alpha


FREE = Price(0.0)


@dataclass(frozen=True)
class Priced:
    """One run: its price, its divergence and entropy in nats per decision, and its final scores by evaluation."""

    environment: str
    price: Price
    seed: int
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


def price_of(run: Run) -> Price:
    """Returns the price of a run."""
    algorithm = run.config["algorithm"]
    alpha = math.inf if algorithm["agent"].get("own_entity_only") else float(algorithm["alpha"])
    return Price(alpha, algorithm.get("priced") or "")


def last_tenth(run: Run, column: str) -> float:
    """Returns the mean of a metric over the last tenth of the rows that have it.

    Raises:
        UserError: if no row has it.
    """
    path, values = run.folder / "metrics.csv", []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            values = [float(row[column]) for row in csv.DictReader(file) if row.get(column)]
    if not values:
        raise UserError(f"expected {column} in {path}, got none: leave out this run")
    return mean(values[-max(1, len(values) // 10) :])


def chosen_runs(folders: Sequence[Path]) -> list[Run]:
    """Returns the newest finished run of each environment, price and seed, sorted by these.

    Raises:
        UserError: if a folder has no run, no run has a price, or runs of one environment differ in more than the price.
    """
    priced = [
        run
        for run in sorted(find_runs(folders), key=lambda run: run.precedence)
        if run.state == "finished"
        and run.algorithm == "mipi_ppo"
        and run.config.get("algorithm", {}).get("regularizer") == "mutual_information"
    ]
    if not priced:
        where = ", ".join(map(str, folders))
        raise UserError(f"expected finished runs of algorithm=mipi_ppo with a marginal policy, got none in {where}")
    for environment in sorted({run.environment for run in priced}):
        members = [run for run in priced if run.environment == environment]
        evaluations = sorted({", ".join(sorted(run.policies["trained"])) for run in members})
        if len(evaluations) > 1:
            raise UserError(
                f"the runs of {environment} have different evaluations, {' and '.join(evaluations)}: "
                "name the folders of one protocol"
            )
        protocols = [dict(settings(run.config, (*OF_WORLD, *OF_LEARNER))) for run in members]
        keys = sorted({key for protocol in protocols for key in protocol} - set(PRICE))
        if differing := [key for key in keys if len({protocol.get(key) for protocol in protocols}) > 1]:
            raise UserError(
                f"the runs of {environment} differ in more than the price, in {', '.join(differing[:5])}: "
                "name the folders of one protocol"
            )
    newest = {(run.environment, price_of(run), run.seed or 0): run for run in priced}
    return [run for _, run in sorted(newest.items(), key=lambda item: item[0])]


def read(paths: Sequence[Path]) -> list[Priced]:
    """Returns the runs in folders and those in tables that `write` made, sorted by environment, price and seed.

    Raises:
        UserError: if `chosen_runs` or `last_tenth` refuses the folders, or a file is no such table.
    """
    tables, folders = tables_and_folders(paths)
    runs = [run for path in tables for run in read_table(path)]
    runs += [as_priced(run) for run in (chosen_runs(folders) if folders or not tables else ())]
    found = {(run.environment, run.price, run.seed): run for run in runs}
    return [run for _, run in sorted(found.items(), key=lambda item: item[0])]


def as_priced(run: Run) -> Priced:
    """Returns what the table needs of a run."""
    return Priced(
        run.environment,
        price_of(run),
        run.seed or 0,
        round(last_tenth(run, KL), DIGITS),
        round(last_tenth(run, ENTROPY), DIGITS),
        {name: round(played.total.score.value, DIGITS) for name, played in run.policies["trained"].items()},
        (run.commit or "?")[:7],
    )


def read_table(path: Path) -> list[Priced]:
    """Returns the runs of a table that `write` made.

    Raises:
        UserError: if it is no such table.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        evaluations = [name for name in reader.fieldnames or () if name not in COLUMNS]
        if list(reader.fieldnames or ()) != [*COLUMNS[:-1], *evaluations, COLUMNS[-1]]:
            expected = ", ".join((*COLUMNS[:-1], "an evaluation each", COLUMNS[-1]))
            raise UserError(f"expected a table of this script with the columns {expected}, got {path}")
        return [
            Priced(
                row["environment"],
                Price(math.inf if row["alpha"] == "∞" else float(row["alpha"]), row["part"]),
                int(row["seed"]),
                float(row["kl_nats"]),
                float(row["entropy_nats"]),
                {name: float(row[name]) for name in evaluations if row[name]},
                row["commit"],
            )
            for row in reader
        ]


def by_price(runs: Sequence[Priced]) -> dict[Price, list[Priced]]:
    """Returns the runs of each price, in increasing order of alpha."""
    found: dict[Price, list[Priced]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.price):
        found[run.price].append(run)
    return dict(found)


def held_out_scores(runs: Sequence[Priced]) -> Array:
    """Returns the scores of S seeds in K held-out evaluations, in the order of their names, [S, K]."""
    return np.array([[run.scores[name] for name in sorted(run.scores) if name != TRAINING] for run in runs])


def better_than_free(groups: Sequence[tuple[Sequence[Priced], Sequence[Priced]]]) -> str:
    """Format the probability that a seed scores higher on the held-out teams than one without a price.

    Args:
        groups: for each environment, runs with the price and runs without; the result is the mean over environments.
    """
    found = mean_probability_of_improvement([(held_out_scores(ours), held_out_scores(free)) for ours, free in groups])
    interval = "" if math.isnan(found.low) else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.value:.2f}{interval}"


def table(runs: Sequence[Priced]) -> list[str]:
    """Returns the table of one environment: a row per price."""
    heads = ["price", "seeds", "KL, nats", "entropy, nats", "training", "held-out", "gap", "P(better than 0)"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    groups = by_price(runs)
    for price, group in groups.items():
        columns = (
            [run.kl for run in group],
            [run.entropy for run in group],
            [run.scores[TRAINING] for run in group],
            [run.held_out for run in group],
            [run.gap for run in group],
        )
        better = better_than_free([(group, groups[FREE])]) if price != FREE and FREE in groups else ""
        cells = [str(price), str(len(group)), *map(spread, columns), better]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def over_environments(runs: Sequence[Priced]) -> list[str]:
    """Returns a line per price that all of several environments have: P(better than 0), mean over them."""
    members = by_environment(runs)
    worlds = [by_price(of_world) for of_world in members.values()]
    shared = [price for price in by_price(runs) if all(price in world for world in worlds)]
    if len(worlds) < 2 or FREE not in shared:
        return []
    return [
        f"P(better than 0), mean over {', '.join(members)}: alpha {price} "
        + better_than_free([(world[price], world[FREE]) for world in worlds])
        for price in shared
        if price != FREE
    ]


def by_environment(runs: Sequence[Priced]) -> dict[str, list[Priced]]:
    """Returns the runs of each environment, in the order of its name."""
    return {
        name: [run for run in runs if run.environment == name] for name in sorted({run.environment for run in runs})
    }


@styled
def draw(path: Path, runs: Sequence[Priced]) -> None:
    """Draw each run's divergence from the marginal against its gap and its held-out win rate, a column per task."""
    members, prices = by_environment(runs), list(by_price(runs))
    figure = new_figure(3.6 * len(members) + 1, 6.4, dpi=110)
    panels = figure.subplots(2, len(members), sharex=True, sharey="row", squeeze=False)
    entries = {}
    for (environment, of_world), (gaps, wins) in zip(members.items(), panels.T, strict=True):
        for price, group in by_price(of_world).items():
            colour, marker = line_style(prices.index(price))
            look = {"color": colour, "marker": marker, "s": 42, "zorder": 3}
            kl = [run.kl for run in group]
            gaps.scatter(kl, [run.gap for run in group], **look)
            entries[price] = wins.scatter(kl, [run.held_out for run in group], **look)
        gaps.axhline(0.0, color="#999999", linewidth=0.8)
        gaps.set_title(environment.upper())
        wins.set_xlabel("divergence from the marginal, nats per decision")
        dress(gaps, "", is_rate=False)
        dress(wins, "", is_rate=False)
    panels[0, 0].set_ylabel("held-out minus training win rate")
    panels[1, 0].set_ylabel("held-out win rate")
    panels[0, 0].set_xlim(left=0.0)
    legend_below(figure, [(f"alpha {price}", entries[price]) for price in prices])
    figure.savefig(path)


def write(runs: Sequence[Priced], path: Path) -> None:
    """Write a CSV with a row per run."""
    names = list(dict.fromkeys(name for run in runs for name in run.scores))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS[:-1], *names, COLUMNS[-1]])
        for run in runs:
            scores = [f"{run.scores[name]:.{DIGITS}f}" if name in run.scores else "" for name in names]
            price = [str(Price(run.price.alpha)), run.price.part]
            nats = [f"{run.kl:.{DIGITS}f}", f"{run.entropy:.{DIGITS}f}"]
            writer.writerow([run.environment, *price, run.seed, *nats, *scores, run.commit])


def main() -> None:
    """Print the tables; write the CSV and the picture."""
    parser = parser_of(__doc__, "run", "divergence against gap and held-out score")
    chosen = parser.parse_args()
    runs = read_or_exit(parser, read, chosen.paths)
    for environment, of_world in by_environment(runs).items():
        print(f"\n{environment}\n\n" + "\n".join(table(of_world)))
    for line in over_environments(runs):
        print(f"\n{line}")
    if chosen.table:
        write(runs, chosen.table)
    if chosen.picture:
        draw(chosen.picture, runs)


if __name__ == "__main__":
    main()
