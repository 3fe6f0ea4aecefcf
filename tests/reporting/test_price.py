"""What benchmarks/price.py and price_parts.py compute from runs and from distributions."""

from __future__ import annotations

import csv
import math
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from run_folders import make_run

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import price  # noqa: E402
import price_parts  # noqa: E402

from mipi_pl.utils.errors import UserError  # noqa: E402


def run(alpha: float, seed: int, training: float, held_out: float, kl: float = 0.3, part: str = "") -> price.Priced:
    scores = {"training": training, "6": held_out, "7": held_out}
    return price.Priced("sz", price.Price(alpha, part), seed, kl, 0.7, scores, "ccccccc")


def test_the_table_has_gaps_and_the_probability_of_being_better_than_without_a_price(tmp_path: Path) -> None:
    free = [run(0.0, 0, 0.9, 0.7), run(0.0, 1, 0.9, 0.6)]
    priced = [run(0.02, 0, 0.8, 0.8), run(0.02, 1, 0.9, 0.65), run(math.inf, 0, 0.5, 0.3, kl=0.0)]
    priced.append(run(0.02, 0, 0.9, 0.5, part="target"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in price.table([*priced, *free])][2:]
    assert [row[0] for row in rows] == ["0", "0.02", "0.02 (target)", "∞"]
    assert [row[6] for row in rows] == ["-0.25 ± 0.07", "-0.12 ± 0.18", "-0.40", "-0.20"]
    assert [row[7][:6] for row in rows] == ["", "0.75 [", "0.00", "0.00"]
    price.write([*priced, *free], tmp_path / "price.csv")
    price.draw(tmp_path / "price.png", [*priced, *free])
    with (tmp_path / "price.csv").open(encoding="utf-8") as file:
        rows_of_file = [(row["alpha"], row["part"], row["6"]) for row in csv.DictReader(file)]
    assert rows_of_file[2:5] == [("∞", "", "0.3000"), ("0.02", "target", "0.5000"), ("0", "", "0.7000")]
    assert (tmp_path / "price.png").stat().st_size > 5_000


def test_a_table_is_read_as_it_was_written_and_a_later_one_counts(tmp_path: Path) -> None:
    first = [
        run(0.0, 0, 0.9, 0.7),
        run(0.02, 0, 0.9, 0.8),
        run(math.inf, 1, 0.5, 0.25),
        run(0.02, 0, 0.9, 0.5, part="kind"),
    ]
    again = replace(first[1], scores={"training": 0.75, "6": 0.625, "7": 0.5})
    for name, runs in (("first.csv", first), ("second.csv", [again])):
        price.write(runs, tmp_path / name)
    assert price.read([tmp_path / "first.csv"]) == [first[0], first[1], first[3], first[2]]
    assert price.read([tmp_path / "first.csv", tmp_path / "second.csv"])[1] == again
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="expected a table of this script with the columns environment, alpha, part,"):
        price.read([tmp_path / "other.csv"])


def test_environments_count_together_for_the_prices_that_all_of_them_have() -> None:
    runs = [run(alpha, seed, 0.9, 0.6 + 5 * alpha + 0.01 * seed) for alpha, seed in product((0.0, 0.02, 0.1), range(3))]
    others = [replace(one, environment="mmm") for one in runs if one.price.alpha < 0.1]
    (line,) = price.over_environments([*runs, *others])
    of_one = price.table(runs)[3].split("|")[8]
    assert line.startswith("P(better than 0), mean over mmm, sz: alpha 0.02 1.00 [")
    low = [float(text.split("[")[1].split(",")[0]) for text in (line, of_one)]
    assert low[0] > low[1], "two environments say more than one"
    assert price.over_environments(runs) == []


def test_the_parts_of_a_divergence_add_up_and_are_those_of_its_definition() -> None:
    torch.manual_seed(0)
    log_pi, log_marginal = torch.randn(2, 50, 9, dtype=torch.float64).log_softmax(-1)
    types = torch.tensor([0, 0, 1, 1, 1, 1, 2, 2, 2])
    what, where, whom = price_parts.divergences(log_pi, log_marginal, types).unbind(1)
    whole = (log_pi.exp() * (log_pi - log_marginal)).sum(1)
    torch.testing.assert_close(what + where + whom, whole)
    attack = types == 2
    targets, expected = (x[:, attack].log_softmax(-1) for x in (log_pi, log_marginal))
    torch.testing.assert_close(
        whom, log_pi[:, attack].exp().sum(1) * (targets.exp() * (targets - expected)).sum(1), rtol=1e-9, atol=1e-12
    )
    assert (what > -1e-12).all()
    assert (where > -1e-12).all()


def test_the_types_are_those_of_the_battle() -> None:
    names = ("no_op", "stop", "north", "south", "east", "west")
    assert price_parts.types_of(names, 7).tolist() == [0, 0, 1, 1, 1, 1, 2]


def test_folders_without_priced_runs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["price.py", str(tmp_path)])
    with pytest.raises(SystemExit):
        price.main()
    assert "runs" in capsys.readouterr().err


def test_a_damaged_config_is_passed_over_and_a_run_without_its_metrics_is_refused(tmp_path: Path) -> None:
    damaged = make_run(tmp_path, "mipi_ppo")
    (damaged / "config.yaml").write_text("{")
    with pytest.raises(UserError, match=r"expected finished runs of algorithm=mipi_ppo .* got none in"):
        price.read([tmp_path])
    keys = {"regularizer": "mutual_information", "agent": {}}
    run = make_run(tmp_path, "mipi_ppo", seed=1, algorithm_keys=keys)
    for metrics in (None, "step\n1\n"):
        if metrics is not None:
            (run / "metrics.csv").write_text(metrics)
        with pytest.raises(UserError, match=rf"expected {price.KL} in {run}/metrics.csv, got none"):
            price.read([tmp_path])


def test_runs_that_differ_in_more_than_the_price_are_not_put_into_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def finished(
        alpha: float,
        frames: int,
        regularizer: str = "mutual_information",
        played: tuple[str, ...] = ("training", "6"),
        enemy_delta: int = 0,
        **more: Any,
    ) -> Any:
        algorithm = {"alpha": alpha, "regularizer": regularizer, "agent": {}, **more}
        config = {"algorithm": algorithm, "total_frames": frames, "env": {"enemy_delta": enemy_delta}}
        known = {"state": "finished", "algorithm": "mipi_ppo", "environment": "sz", "precedence": frames}
        return SimpleNamespace(config=config, seed=0, policies={"trained": dict.fromkeys(played)}, **known)

    runs = [finished(0.02, 1_000), finished(0.0, 1_000, priced=None), finished(0.0, 2_000, "none")]
    runs.append(finished(0.02, 1_000, priced="kind"))
    monkeypatch.setattr(price, "find_runs", lambda _: runs)
    assert [str(price.price_of(run)) for run in price.chosen_runs([])] == ["0", "0.02", "0.02 (kind)"]
    assert price.chosen_runs([])[1] is runs[0]
    runs.append(finished(0.02, 2_000))
    with pytest.raises(UserError, match="the runs of sz differ in more than the price, in total_frames"):
        price.chosen_runs([])
    runs[-1] = finished(0.05, 400)
    with pytest.raises(UserError, match="the runs of sz differ in more than the price, in total_frames"):
        price.chosen_runs([])
    runs[-1] = finished(0.05, 1_000, enemy_delta=-1)
    with pytest.raises(UserError, match=r"the runs of sz differ in more than the price, in env\.enemy_delta"):
        price.chosen_runs([])
    runs[-1] = finished(0.05, 1_000, played=("training", "6", "7"))
    with pytest.raises(UserError, match="the runs of sz have different evaluations, 6, 7, training and 6, training"):
        price.chosen_runs([])


def test_a_run_and_its_row_of_a_table_are_equal(tmp_path: Path) -> None:
    """Else a win rate such as 210/256 would beat its equal, which the table holds as 0.8203."""
    (tmp_path / "metrics.csv").write_text(f"{price.KL},{price.ENTROPY}\n{1 / 3},{2 / 3}\n")
    scores = {"training": 210 / 256, "6": 211 / 256}
    played = {
        name: SimpleNamespace(total=SimpleNamespace(score=SimpleNamespace(value=s))) for name, s in scores.items()
    }
    config = {"algorithm": {"alpha": 0.02, "agent": {}}}
    known = {"environment": "sz", "seed": 0, "commit": "c" * 40, "policies": {"trained": played}}
    found = price.as_priced(SimpleNamespace(folder=tmp_path, config=config, **known))
    price.write([found], tmp_path / "price.csv")
    assert price.read([tmp_path / "price.csv"]) == [found]
