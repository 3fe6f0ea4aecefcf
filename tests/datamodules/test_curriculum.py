"""A curriculum draws the team sizes of its stage, resumes in it, and is refused where it cannot be followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crash import Crash, train_to_the_end
from run_content import content, differences
from worlds import small_mipi

from mipi_pl.datamodules.journal import EpisodeJournal
from mipi_pl.datamodules.on_policy import OnPolicyDataModule
from mipi_pl.datamodules.replay import ReplayDataModule
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.envs.composition import Composition
from mipi_pl.envs.matrix import MatrixGame
from mipi_pl.envs.resource.env import ResourceCollection
from mipi_pl.envs.stepped import SteppedEnv, View
from mipi_pl.spec import EntitySpec

STAGES = [{"frames": 0, "team_sizes": [1]}, {"frames": 16, "team_sizes": [1, 2, 3]}]


class Game:
    """Two steps in which nothing happens, with as many agents as the composition has."""

    def reset(self, composition: int, seed: int) -> View:
        self.present = np.arange(3) <= composition
        return self.step(np.zeros(3))

    def step(self, action: np.ndarray) -> View:
        return View(entities=np.ones((3, 1)), present=self.present)


def stepped(num_envs: int = 64, seed: int = 0, sizes: tuple[int, ...] = (1, 2, 3)) -> SteppedEnv:
    spec = EntitySpec(n_agents=3, n_entities=3, n_features=1, n_actions=2, max_steps=2)
    return SteppedEnv(spec, [Composition((("a", size),)) for size in sizes], Game, num_envs, seed)


def battle(num_envs: int = 64, seed: int = 0) -> BattleEnv:
    groups = [{"types": ["marine", "marauder"], "min": 1, "max": 3}]
    return BattleEnv(groups, [1, 2, 3], 3, num_envs, seed, episode_limit=2, draw="sizes")


def resource(num_envs: int = 64, seed: int = 0) -> ResourceCollection:
    return ResourceCollection(team_sizes=[1, 2, 3], capacity=3, num_envs=num_envs, seed=seed)


def begun(env: EntityEnv) -> set[int]:
    drawn = env.reset()["composition"].flatten().tolist()
    return {env.compositions[index].size for index in drawn}


@pytest.mark.parametrize("make", [stepped, battle, resource])
def test_worlds_draw_the_sizes_they_are_told(make: Callable[..., EntityEnv]) -> None:
    env = make()
    assert begun(env) == {1, 2, 3}
    env.draw_only([3, 1])
    assert begun(env) == {1, 3}
    all_sizes = make()
    all_sizes.draw_only([1, 2, 3])
    assert torch.equal(all_sizes.reset()["entities"], make().reset()["entities"]), "as without a curriculum"
    with pytest.raises(ValueError, match=r"have the sizes \[1, 2, 3\], got \[7\]"):
        env.draw_only([7])


def test_a_running_episode_of_an_earlier_stage_is_restored() -> None:
    env, again = stepped(4), stepped(4)
    for world in (env, again):
        world.draw_only([3])
    td = env.reset()
    env.draw_only([1])
    again.set_extra_state(env.get_extra_state())
    td.set(("agents", "action"), torch.zeros(4, 3, dtype=torch.int64))
    expected, found = env.step(td.clone())["next"], again.step(td.clone())["next"]
    assert torch.equal(expected["present"], found["present"])
    assert expected["present"].all()


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ([], "begin at frame 0 and are in ascending order, got []"),
        ([{"frames": 5, "team_sizes": [1, 2, 3]}], "begin at frame 0 and are in ascending order, got [5]"),
        ([STAGES[1], STAGES[0]], "begin at frame 0"),
        ([STAGES[0]], "must have the team sizes of training, [1, 2, 3]"),
        ([{"frames": 0, "team_sizes": [1, 2, 3, 4]}], "must have the team sizes of training"),
        ([{"frames": 0}], "each stage of datamodule.curriculum is {frames: N, team_sizes: [...]}"),
        ([{"frames": 0, "team_sizes": 3}], "whole numbers as frames and lists of them as team_sizes"),
    ],
)
def test_stages_that_do_not_fit_are_refused(stages: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(ValueError, match=r"curriculum") as refusal:
        OnPolicyDataModule(stepped, num_envs=2, curriculum=stages)
    assert told in str(refusal.value)


def test_workers_and_worlds_without_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"needs datamodule.collector=inline, got processes"):
        ReplayDataModule(stepped, num_envs=2, collector="processes", curriculum=STAGES)

    def game(num_envs: int, seed: int) -> MatrixGame:
        return MatrixGame({"AB": [[1.0, 0.0], [0.0, 0.0]]}, ["AB"], num_envs, seed)

    with pytest.raises(ValueError, match=r"MatrixGame draws from all of its team sizes"):
        ReplayDataModule(game, curriculum=[{"frames": 0, "team_sizes": [2]}])


RUN = [
    *("env=marines", "env.episode_limit=6", "debug=tiny", "total_frames=96", "held_out.baselines=[]"),
    *("env.team_sizes=[1,2]", "env.groups=[{types:[marine],min:1,max:8}]", "held_out.team_sizes=[3]"),
    "datamodule.curriculum=[{frames:0,team_sizes:[1]},{frames:48,team_sizes:[1,2]}]",
    *("picture._target_=crash.no_picture", "callbacks.generalization.every_frames=48"),
    *("callbacks.checkpointing.every_frames=16", "+callbacks.crash._target_=crash.Crash"),
    "++callbacks.collection.every_updates=1",
]


pytestmark = pytest.mark.usefixtures("no_crash_is_left")


# The first crash is in the first stage, the second in the second.
@pytest.mark.parametrize(
    ("chosen", "crashes"),
    [
        (["algorithm=mappo", "datamodule.rollout_steps=4"], [3, 9]),
        (["algorithm=refil", "datamodule.overlap=true"], [1, 4]),
    ],
    ids=["rollouts", "replay"],
)
def test_a_run_with_a_curriculum_goes_on_bit_for_bit(chosen: list[str], crashes: list[int], tmp_path: Path) -> None:
    whole = train_to_the_end(tmp_path / "whole", *RUN, *chosen)
    Crash.at = crashes
    broken = train_to_the_end(tmp_path / "broken", *RUN, *chosen)
    assert Crash.at == []
    assert differences(content(whole), content(broken)) == []
    largest = [row["collect/largest_team"] for row in content(whole)["logs"]["metrics"] if row["collect/largest_team"]]
    assert {float(largest[0]), float(largest[-1])} == {1.0, 2.0}


def test_the_largest_team_that_is_logged_follows_the_counter_of_frames(tmp_path: Path) -> None:
    """Also in a resumed run that learns before it collects, as when several updates are owed."""
    stages = [{"frames": 0, "team_sizes": [1]}, {"frames": 16, "team_sizes": [1, 2, 3]}]
    whole, resumed = (
        ReplayDataModule(stepped, num_envs=4, capacity=40, batch_size=4, warmup_episodes=4, curriculum=stages)
        for _ in range(2)
    )
    for module in (whole, resumed):
        module.connect(small_mipi(module.env.entity_spec).actor(greedy=False))
        module._journal = EpisodeJournal(tmp_path, 50)
    while whole.frames < 24:
        whole.collect()
    whole.write_journal()
    resumed.load_state_dict(whole.state_dict())
    assert whole.collection_metrics()["largest_team"] == resumed.collection_metrics()["largest_team"] == 3.0
