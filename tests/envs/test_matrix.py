from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torchrl.envs.utils import check_env_specs

from mipi_pl import spec as keys
from mipi_pl.envs.matrix import MatrixGame

PAYOFFS = {
    "AB": [[1.8, 2.0], [0.0, 0.0]],
    "BA": [[1.8, 0.0], [2.0, 0.0]],
    "BB": [[1.8, 2.0], [0.0, 0.0]],
}


def game(num_envs: int = 64, **options: Any) -> MatrixGame:
    return MatrixGame(**{"payoffs": PAYOFFS, "team_compositions": ["AB", "BA"], "num_envs": num_envs, **options})


def test_the_specs_of_torchrl_hold() -> None:
    check_env_specs(game(3), seed=0)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("second", [0, 1])
def test_every_cell_pays_what_the_matrix_says(first: int, second: int) -> None:
    env = game()
    td = env.reset()
    td[keys.ACTION] = torch.tensor([first, second]).expand(64, 2).clone()
    after = env.step(td)["next"]
    names = [["AB", "BA"][k] for k in td[keys.COMPOSITION].flatten().tolist()]
    assert set(names) == {"AB", "BA"}
    expected = torch.tensor([PAYOFFS[name][first][second] for name in names])
    torch.testing.assert_close(after[keys.REWARD].flatten(), expected)
    assert torch.equal(after[keys.WON].flatten(), expected == 2.0)
    assert after[keys.TERMINATED].all()
    assert not after[keys.TRUNCATED].any()


def test_agents_are_known_by_index_and_the_team_by_its_types() -> None:
    td = game().reset()
    entities, drawn = td[keys.ENTITIES], td[keys.COMPOSITION].flatten()
    assert torch.equal(entities[:, :2], torch.eye(2, 6).expand(64, 2, 6))
    types = {0: [0, 0, 1, 0, 0, 1], 1: [0, 0, 0, 1, 1, 0]}  # A is (1, 0), B is (0, 1)
    for row, composition in enumerate(drawn.tolist()):
        assert entities[row, 2].int().tolist() == types[composition]


def test_equal_seeds_give_equal_draws_whatever_the_neighbours_do() -> None:
    def draws(env: MatrixGame) -> torch.Tensor:
        return torch.stack([env.reset()[keys.COMPOSITION].flatten().clone() for _ in range(20)])

    one, two, other = draws(game(4, seed=3)), draws(game(4, seed=3)), draws(game(4, seed=4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert abs(one.float().mean() - 0.5) < 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"team_compositions": []}, "at least one composition"),
        ({"team_compositions": ["AA"]}, "'AA' must be two letters"),
        ({"payoffs": {"AB": [[1.0, 2.0]]}, "team_compositions": ["AB"]}, "2 x 2 and finite"),
        (
            {"payoffs": {"AB": [[1.0, 2.0], [0.0]]}, "team_compositions": ["AB"]},
            "env.payoffs.AB must be 2 x 2 and finite",
        ),
        ({"payoffs": {"AB": None}, "team_compositions": ["AB"]}, "env.payoffs.AB must be 2 x 2 and .*, got None"),
        ({"payoffs": None}, "env.payoffs must map compositions to matrices, got None"),
        ({"payoffs": {"AB": [[1.0, 2.0], [0.0, float("nan")]]}, "team_compositions": ["AB"]}, "2 x 2 and finite"),
    ],
)
def test_impossible_games_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        game(1, **options)


def test_unknown_actions_are_refused() -> None:
    env = game(1)
    td = env.reset()
    td[keys.ACTION] = torch.tensor([[0, 2]])
    with pytest.raises(ValueError, match="actions of the matrix game are 0 and 1"):
        env.step(td)


def test_it_goes_on_from_a_saved_state_bit_for_bit(tmp_path: Path) -> None:
    one, two = (game(5, seed=seed) for seed in (3, 4))
    for _ in range(7):
        one.rollout(1)
    torch.save(one.state_dict(), tmp_path / "state.pt")
    two.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    drawn = [[env.reset()["composition"].flatten().tolist() for _ in range(20)] for env in (one, two)]
    assert drawn[0] == drawn[1]
    assert len({tuple(row) for row in drawn[0]}) > 1
