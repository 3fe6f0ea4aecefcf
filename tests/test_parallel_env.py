"""The worlds as parallel environments of PettingZoo: its own tests, and what they do not check."""

from __future__ import annotations

import builtins
import importlib
import sys
import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pettingzoo", reason="needs the extra pettingzoo: pip install 'mipi-pl[pettingzoo]'")

from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test
from pettingzoo.utils import parallel_to_aec

from mipi_pl import spec as keys
from mipi_pl.envs.composition import Composition
from mipi_pl.envs.stepped import SteppedEnv, View
from mipi_pl.pettingzoo import EntityParallelEnv, parallel_env
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.errors import UserError

WORLDS: list[tuple[str, ...]] = [("sz", "env.episode_limit=20"), ("resource_collection", "env.episode_limit=10")]


@pytest.fixture(scope="module")
def battle() -> EntityParallelEnv:
    return parallel_env("sz", team_size=3)


def masked(env: EntityParallelEnv, observations: dict[str, Any], last: bool = False) -> dict[str, int]:
    """The first or the last available action of each agent."""
    available = {agent: np.flatnonzero(observations[agent]["action_mask"]) for agent in env.agents}
    return {agent: int(actions[-1 if last else 0]) for agent, actions in available.items()}


@pytest.mark.parametrize("observation", ["flat", "entities"])
@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world[0])
def test_pettingzoo_accepts_the_api(world: tuple[str, ...], observation: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(parallel_env(*world, team_size=3, observation=observation), num_cycles=25)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world[0])
def test_pettingzoo_accepts_the_seeds(world: tuple[str, ...]) -> None:
    parallel_seed_test(partial(parallel_env, *world), num_cycles=5)


def test_pettingzoo_accepts_the_environment_that_takes_turns() -> None:
    api_test(parallel_to_aec(parallel_env(*WORLDS[0], team_size=3)), num_cycles=50)


def test_observations_lie_in_their_spaces(battle: EntityParallelEnv) -> None:
    entities = parallel_env(*WORLDS[0], observation="entities")
    for env in (battle, entities):
        observations, _ = env.reset(seed=3)
        for _ in range(5):
            for agent in env.agents:
                space = env.observation_space(agent)
                assert space is env.observation_space(agent)
                assert env.action_space(agent) is env.action_space(agent)
                assert space.contains(observations[agent])
            observations = env.step(masked(env, observations, last=True))[0]
        assert env.state_space.contains(env.state())
    seen = entities.reset(seed=3)[0]["ally_0"]["observation"]
    assert not seen["entities"][seen["visible"] == 0].any()
    assert seen["visible"][seen["slot"]] == 1


def test_an_agent_that_dies_is_terminated_and_leaves(battle: EntityParallelEnv) -> None:
    observations, _ = battle.reset(seed=0)
    died: list[str] = []
    while battle.agents:
        agents = list(battle.agents)
        observations, rewards, terminated, truncated, infos = battle.step(masked(battle, observations))
        for values in (observations, rewards, terminated, truncated, infos):
            assert list(values) == agents
        gone = [agent for agent in agents if agent not in battle.agents]
        if battle.agents:
            assert gone == [agent for agent in agents if terminated[agent]]
            assert all(observations[agent]["action_mask"].tolist()[:2] == [1, 0] for agent in gone)
            died += gone
        assert len(set(rewards.values())) == 1
    assert died
    assert all(terminated.values())
    assert not any(truncated.values())
    with pytest.raises(ValueError, match="no episode is running: call reset"):
        battle.step({})


class Joining:
    """A game of four steps whose second agent appears after the first step; its action is shown as a feature."""

    def reset(self, composition: int, seed: int) -> View:
        self.t, self.seen = 0, 0
        return self.view()

    def step(self, action: np.ndarray) -> View:
        self.t, self.seen = self.t + 1, int(action[1])
        return self.view()

    def view(self) -> View:
        features = np.full((2, 1), self.seen, dtype=np.float32)
        return View(features, np.array([True, self.t >= 1]), reward=1.0, terminated=self.t == 4)


def joining() -> EntityParallelEnv:
    spec = EntitySpec(n_agents=2, n_entities=2, n_features=1, n_actions=3, max_steps=6)
    return EntityParallelEnv(SteppedEnv(spec, [Composition((("agent", 2),))], Joining, num_envs=1))


def test_an_agent_that_appears_later_is_told_and_acts() -> None:
    env = joining()
    observations, _ = env.reset(seed=0)
    assert list(observations) == env.agents == ["ally_0"]
    observations, rewards, terminated, truncated, infos = env.step({"ally_0": 1})
    assert env.agents == ["ally_0", "ally_1"]
    for values in (observations, rewards, terminated, truncated, infos):
        assert list(values) == env.agents
    assert rewards == {"ally_0": 1.0, "ally_1": 0.0}
    assert observations["ally_1"]["action_mask"].tolist() == [1, 1, 1]
    observations, rewards, *_ = env.step({"ally_0": 0, "ally_1": 2})
    assert observations["ally_0"]["observation"][0] == 2, "its action was played"
    assert rewards == {"ally_0": 1.0, "ally_1": 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(joining(), num_cycles=12)


def test_the_time_limit_truncates_all_that_are_left() -> None:
    env = parallel_env("sz", "env.episode_limit=2", team_size=3)
    observations, _ = env.reset(seed=0)
    observations = env.step(masked(env, observations))[0]
    _, _, terminated, truncated, _ = env.step(masked(env, observations))
    assert truncated == dict.fromkeys(["ally_0", "ally_1", "ally_2"], True)
    assert not any(terminated.values())
    assert env.agents == []


def test_the_name_is_that_of_the_world_whatever_the_order_of_the_words() -> None:
    assert parallel_env("env.enemy_delta=1", "env=sz").metadata["name"] == "sz_v0"


@pytest.mark.parametrize("add", ["", "++"])
def test_a_named_capacity_wins_over_that_of_the_team(add: str) -> None:
    assert len(parallel_env("sz", f"{add}env.capacity=6", team_size=3).possible_agents) == 6


def test_agents_are_the_team_of_the_episode() -> None:
    env = parallel_env("sz", seed=2)
    assert env.possible_agents == [f"ally_{k}" for k in range(8)]
    sizes = {len(env.reset()[0]) for _ in range(20)}
    assert sizes == {3, 4, 5}
    assert all(agent in env.possible_agents for agent in env.agents)


def test_a_seed_gives_the_same_episodes_whatever_came_before(battle: EntityParallelEnv) -> None:
    def battles(seed: int) -> list[np.ndarray]:
        battle.reset(seed=seed)
        return [battle.state(), *(battle.reset() and battle.state() for _ in range(2))]

    first, again, other = battles(5), battles(5), battles(6)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], other[0])


def test_actions_that_are_not_available_are_replaced_and_reported(battle: EntityParallelEnv) -> None:
    observations, _ = battle.reset(seed=1)
    action = dict.fromkeys(battle.agents, 1)
    state = battle.step(action)[0]["ally_1"]["observation"]
    battle.reset(seed=1)
    observations, _, _, _, infos = battle.step({**action, "ally_1": 0})  # no_op is for the dead
    assert [infos[agent]["replaced"] for agent in battle.agents] == [False, True, False]
    assert np.array_equal(observations["ally_1"]["observation"], state)  # stop was played


@pytest.mark.parametrize("action", [None, 1.5, "stop", -1, 99, np.float32(1)])
def test_what_is_no_action_is_refused(battle: EntityParallelEnv, action: Any) -> None:
    battle.reset(seed=1)
    with pytest.raises(ValueError, match=r"actions are whole numbers from 0 to \d+, got .* for ally_1"):
        battle.step({**dict.fromkeys(battle.agents, 1), "ally_1": action})
    battle.step(dict.fromkeys(battle.agents, np.int64(1)))


def test_the_winner_is_told() -> None:
    env = parallel_env("marines", "env.enemies={marine: 1}", team_size=5)
    _, infos = env.reset(seed=0)
    policy = env.world.scripted_policy("focus_fire")
    while env.agents:
        assert env._td is not None
        action = policy(env._td.clone())[keys.ACTION][0]
        *_, infos = env.step({agent: int(action[env._slots[agent]]) for agent in env.agents})
    assert all(info["won"] for info in infos.values())


def test_pictures_are_drawn(battle: EntityParallelEnv) -> None:
    env = parallel_env("sz", team_size=3, render_mode="rgb_array")
    env.reset()
    picture = env.render()
    assert picture is not None
    assert picture.shape == (510, 480, 3)
    assert str(env) == "sz_v0"
    with pytest.warns(UserWarning, match="render_mode='rgb_array'"):
        assert battle.render() is None


def test_mistakes_are_refused(battle: EntityParallelEnv) -> None:
    with pytest.raises(UserError, match="observation must be flat or entities, got 'image'"):
        parallel_env("sz", observation="image")
    with pytest.raises(UserError, match="render_mode must be rgb_array or None, got 'human'"):
        parallel_env("sz", render_mode="human")
    for seed in (-1, 1.5, True):
        with pytest.raises(ValueError, match=rf"^seed must be a whole number from 0, got {seed}$"):
            battle.reset(seed=seed)  # type: ignore[arg-type]
        with pytest.raises(UserError, match=rf"^seed must be a whole number from 0, got {seed}$"):
            parallel_env("sz", team_size=3, seed=seed)  # type: ignore[arg-type]
    battle.reset(seed=np.int64(3))  # type: ignore[arg-type]
    battle.reset()
    with pytest.raises(ValueError, match=r"step needs an action for each of .*, got some for \['ally_0'\]"):
        battle.step({"ally_0": 1})
    with pytest.raises(ValueError, match="actions are whole numbers from 0 to 8, got 9 for ally_1"):
        battle.step({"ally_0": 1, "ally_1": 9, "ally_2": 1})


def test_without_pettingzoo_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] in ("pettingzoo", "gymnasium"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return found(name, *rest, **more)

    monkeypatch.delitem(sys.modules, "mipi_pl.pettingzoo")
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mipi-pl\[pettingzoo\]'"):
        importlib.import_module("mipi_pl.pettingzoo")
