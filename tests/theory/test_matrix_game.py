"""Exact solutions of the matrix game against a grid of policies, and their payoffs and picture."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import plain_theory as plain
import pytest
import torch
from matplotlib.image import imread
from omegaconf import OmegaConf

from mipi_pl.envs.composition import Composition
from mipi_pl.evaluation.curve import read_curve, while_learning
from mipi_pl.evaluation.generalization import Result
from mipi_pl.evaluation.rollout import Episodes
from mipi_pl.evaluation.statistics import Estimate
from mipi_pl.evaluation.tables import append_csv, rows_of
from mipi_pl.theory.matrix_figure import draw_matrix_game
from mipi_pl.theory.matrix_game import exact_payoffs, payoffs_elsewhere, payoffs_in_training, solve

ENV = OmegaConf.to_container(OmegaConf.load(Path(__file__).parents[2] / "configs/env/matrix_game.yaml"))
PAYOFFS, TRAINED, ALPHA = ENV["payoffs"], ENV["team_compositions"], 0.5
GAMES = np.array([PAYOFFS[name] for name in TRAINED])


def random_payoffs(seed: int) -> dict[str, list[list[float]]]:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(0, 2, size=(2, 2)).tolist() for name in ("AB", "BA", "BB")}


@pytest.mark.parametrize("regularizer", ["mutual_information", "entropy", "none"])
@pytest.mark.parametrize("payoffs", [PAYOFFS, random_payoffs(0), random_payoffs(1)])
def test_no_policy_of_a_grid_beats_the_exact_solution(regularizer: str, payoffs: dict[str, list[list[float]]]) -> None:
    found = solve(payoffs, ["AB", "BA"], regularizer, ALPHA)
    games = [payoffs["AB"], payoffs["BA"]]
    first, second = found.policies.tolist()
    assert plain.game_objective(games, first, second, regularizer, ALPHA) == pytest.approx(found.objective, abs=1e-9)
    shares = [[p, 1 - p] for p in np.linspace(0, 1, 9).tolist()]
    tried = max(
        plain.game_objective(games, [a, b], [c, d], regularizer, ALPHA) for a, b, c, d in product(shares, repeat=4)
    )
    assert tried - 1e-9 <= found.objective <= tried + 0.05


def test_the_payoffs_separate_the_three_regularisers() -> None:
    best = {name: np.unravel_index(np.argmax(game), (2, 2)) for name, game in PAYOFFS.items()}
    assert len(set(best.values())) == 3, "a best joint action of its own in each team"
    for name, game in PAYOFFS.items():
        assert game[0][0] == pytest.approx(0.9 * max(map(max, game))), f"(0, 0) is nearly as good in {name}"
    information = solve(PAYOFFS, TRAINED, "mutual_information", ALPHA)
    np.testing.assert_allclose(information.policies[..., 0], 1.0, atol=1e-6)
    np.testing.assert_allclose(payoffs_elsewhere(np.array(PAYOFFS["BB"]), information.policies), 1.8, atol=1e-5)
    for regularizer in ("entropy", "none"):
        greedy = solve(PAYOFFS, TRAINED, regularizer, ALPHA).greedy()
        assert payoffs_in_training(GAMES, greedy).tolist() == [2.0, 2.0]
        # Whichever training team each agent takes (B,B) for, the second one plays 1.
        assert not payoffs_elsewhere(np.array(PAYOFFS["BB"]), greedy).any()


def test_without_a_price_there_is_no_regulariser() -> None:
    for regularizer in ("mutual_information", "entropy"):
        assert (
            solve(PAYOFFS, TRAINED, regularizer, 0.0).objective == solve(PAYOFFS, TRAINED, "none", 1.0).objective == 2.0
        )
    with pytest.raises(ValueError, match="alpha must be at least 0"):
        solve(PAYOFFS, TRAINED, "entropy", -1.0)
    with pytest.raises(ValueError, match="regularizer must be one of"):
        solve(PAYOFFS, TRAINED, "other", 1.0)


def test_exact_payoffs_name_every_team() -> None:
    found = exact_payoffs(PAYOFFS, TRAINED, ALPHA)
    assert found["none"] == {"AB": 2.0, "BA": 2.0, "BB": 0.0}
    assert found["mutual_information"] == {"AB": 1.8, "BA": 1.8, "BB": 1.8}
    assert set(exact_payoffs(PAYOFFS, ["AB", "BA", "BB"], ALPHA)["entropy"]) == {"AB", "BA", "BB"}


def test_the_picture_shows_the_returns_of_the_file(tmp_path: Path) -> None:
    def result(name: str, value: float) -> Result:
        nothing, no = torch.zeros(4).long(), torch.zeros(4) > 1
        played = Episodes(torch.full((4,), value), no, nothing + 1, nothing, no)
        return Result.from_episodes(name, [Composition((("1st A", 1), ("2nd B", 1)))], played)

    def returns(path: Path, final: Estimate | None = None) -> list[tuple[int, float]]:
        line = while_learning(read_curve(path, "return"), "BB", final)
        return [(point.frames, point.value.value) for point in line]

    for frames, value in ((2000, 1.5), (0, 0.5)):
        results = [result("training", value), result("BB", value / 2)]
        append_csv(tmp_path / "evaluations.csv", [{"frames": frames, **row} for row in rows_of("greedy", results)])
    assert returns(tmp_path / "evaluations.csv") == [(0, 0.25), (2000, 0.75)]
    # The final evaluation is the last row, also where it is worse than the last one while learning.
    final = [{"frames": 2000, **row} for row in rows_of("greedy", [result("BB", 0.5)])]
    append_csv(tmp_path / "evaluations.csv", final)
    assert returns(tmp_path / "evaluations.csv") == [(0, 0.25), (2000, 0.75), (2000, 0.5)]
    assert returns(tmp_path / "evaluations.csv", result("BB", 0.5).total.return_) == [(0, 0.25), (2000, 0.75)]
    draw_matrix_game(
        tmp_path / "run.png", "a run", tmp_path / "evaluations.csv", {"trained": results}, PAYOFFS, TRAINED, ALPHA
    )
    assert imread(tmp_path / "run.png").std() > 0.05, "not blank"
