from __future__ import annotations

from pathlib import Path

import pytest
import torch
from script_world import ScriptWorld
from torchrl.envs.utils import check_env_specs

from mipi_pl import spec as keys
from mipi_pl.envs import base
from mipi_pl.spec import EntitySpec

LENGTHS = [[3, 1, 4], [2, 2, 5], [6]]


def test_the_specs_of_torchrl_hold() -> None:
    check_env_specs(ScriptWorld(LENGTHS, num_envs=3), seed=0)


def test_what_a_world_must_implement_is_named_wherever_it_is_described() -> None:
    methods = {name for name, found in vars(base.EntityEnv).items() if getattr(found, "__isabstractmethod__", False)}
    assert len(methods) == 5
    guide = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for text in (base.__doc__, base.EntityEnv.__doc__, guide):
        assert not [name for name in methods if f"`{name}" not in str(text)]
    assert "implements five methods" in str(base.__doc__)


def test_only_finished_rows_are_reset_and_the_others_go_on() -> None:
    env = ScriptWorld(LENGTHS, num_envs=3)
    td = env.reset()
    assert td[keys.IS_INIT].all()
    episodes = []
    for _ in range(7):
        stepped, td = env.step_and_maybe_reset(env.rand_action(td))
        over = stepped["next", "done"]
        assert torch.equal(td[keys.IS_INIT], over)
        assert torch.equal(td["entities"][:, 0, 2] == 0, over.squeeze(-1))
        assert not td["done"].any()
        assert not td[keys.WON].any()
        episodes.append(td["entities"][:, 0, 1].int().tolist())
    # Episodes of 3, 1, 4 steps; of 2, 2, 5; of 6.
    assert episodes == [[0, 0, 0], [0, 1, 0], [1, 1, 0], [2, 2, 0], [2, 2, 0], [2, 2, 1], [2, 2, 1]]


def test_steps_are_not_overwritten_by_later_ones() -> None:
    env = ScriptWorld([[6]], num_envs=1)
    first = env.reset()
    kept = first.clone()
    second = env.step(env.rand_action(first))["next"].clone(recurse=False)
    env.step(env.rand_action(second))
    assert torch.equal(first["entities"], kept["entities"])
    assert second["entities"][0, 0, 2] == 1


def test_random_actions_are_available_and_cover_all_that_are() -> None:
    env = ScriptWorld([[6]], num_envs=1)
    td = env.reset()
    drawn = torch.stack([env.rand_action(td)[keys.ACTION].clone() for _ in range(60)])
    assert drawn.unique().tolist() == [0, 1, 2]
    td[keys.ACTION_MASK][:, 1] = torch.tensor([False, True, False])
    drawn = torch.stack([env.rand_action(td)[keys.ACTION].clone() for _ in range(20)])
    assert (drawn[..., 1] == 1).all()


def test_an_environment_needs_a_row() -> None:
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        ScriptWorld(LENGTHS, num_envs=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_features": 0}, "n_features must be at least 1, got 0"),
        ({"n_agents": 4}, r"n_agents \(4\) must not exceed"),
        ({"action_names": ("a",)}, "action_names must be empty or have 2 names, got 1"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, object], message: str) -> None:
    sizes = {"n_agents": 2, "n_entities": 3, "n_features": 1, "n_actions": 2, "max_steps": 5}
    assert EntitySpec(**sizes).n_others == 1
    with pytest.raises(ValueError, match=message):
        EntitySpec(**{**sizes, **changes})
