"""Parallel environments of PettingZoo as a world: slots, masks, rewards and ends of agents that die and appear."""

from __future__ import annotations

import re
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from parallel_world import Crowd, crowd
from tensordict import TensorDictBase
from torchrl.envs.utils import check_env_specs

from mipi_pl import spec as keys
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.pettingzoo import FromTuples, flat
from mipi_pl.utils.errors import WorldFaultError


def act(td: TensorDictBase) -> TensorDictBase:
    """The last action that is available."""
    td[keys.ACTION] = td[keys.ACTION_MASK].long().cumsum(-1).argmax(-1)
    return td


def episode(env: EntityEnv) -> list[TensorDictBase]:
    """The observations of one episode, the first one without a reward."""
    td = env.reset()
    seen = [td.clone()]
    while not td[keys.DONE].any():
        td = env.step(act(td))["next"]
        seen.append(td.clone())
    return seen


def test_the_specs_of_torchrl_hold() -> None:
    check_env_specs(crowd(), seed=0)


def test_slots_follow_agents_that_die_and_appear() -> None:
    seen = episode(crowd(team_sizes=[3], num_envs=2))
    present = [td[keys.PRESENT][0, :4].tolist() for td in seen]
    died, joined = [True, True, False, False], [True, True, False, True]
    assert present == [[True, True, True, False]] * 2 + [died] + [joined] * 4
    for td in seen:
        acting = keys.acting(td[keys.VISIBLE])[0]
        assert acting.tolist() == td[keys.PRESENT][0, :4].tolist()
        assert td[keys.ACTION_MASK][0, ~acting].tolist() == [[True, False, False]] * int((~acting).sum())
        assert td[keys.VISIBLE][0, acting, 4].all(), "all see the stone"
    assert seen[0][keys.VISIBLE][0, :3, :3].tolist() == [[True, True, False], [True] * 3, [False, True, True]]
    assert seen[-1][keys.TRUNCATED].all()
    assert not seen[-1][keys.TERMINATED].any()
    assert torch.equal(seen[5][keys.ENTITIES][0, :, 0], torch.tensor([0.0, 1.0, 0.0, 3.0, 50.0]))


def test_an_agent_describes_itself_and_others_only_while_it_does_not() -> None:
    td = episode(crowd(team_sizes=[2], num_envs=1))[1]
    assert td[keys.ENTITIES][0, :2].tolist() == [[0.0, 4.0], [1.0, 4.0]]


@pytest.mark.parametrize(("capacity", "present"), [(4, [[1, 1, 0, 0], [1, 1, 0, 1]]), (3, [[1, 1, 0], [1, 1, 1]])])
def test_an_agent_that_died_is_not_there_even_if_others_describe_it(capacity: int, present: list[list[int]]) -> None:
    def observe(agent: str, observation: dict[str, Any]) -> dict[str, Any]:
        own = [observation["place"], 0.0]
        return {agent: own, **{f"agent_{i}": own for i in range(3)}}  # as examples/own_environment/spread.py

    seen = episode(crowd([3], 1, observe=observe, capacity=capacity))
    shown = [td[keys.PRESENT][0].int().tolist() for td in seen]
    assert shown == [[1] * 3 + [0] * (capacity - 2)] * 2 + [[*present[0], 0]] + [[*present[1], 0]] * 4
    for td in seen:
        assert not td[keys.VISIBLE][0, :, ~td[keys.PRESENT][0]].any()
        assert not td[keys.ENTITIES][0, ~td[keys.PRESENT][0]].any()


def test_only_the_agents_that_live_are_sent_actions_and_masks_are_kept() -> None:
    env = crowd(team_sizes=[3], num_envs=1)
    seen = episode(env)
    sent = env._games[0]._envs[3].sent
    assert [sorted(actions) for actions in sent[1:4]] == [
        ["agent_0", "agent_1", "agent_2"],
        ["agent_0", "agent_1"],
        ["agent_0", "agent_1", "newcomer"],
    ]
    for before, after in pairwise(sent):
        assert all(after[agent] != before[agent] for agent in set(before) & set(after))
    assert seen[1][keys.ACTION_MASK][0, :3].tolist() == [[True, True, False]] * 3, "action 2 was the last one"


@pytest.mark.parametrize(("team_reward", "expected"), [("sum", 6.0), ("mean", 2.0)])
def test_the_reward_is_the_sum_or_the_mean_over_the_agents_that_acted(team_reward: str, expected: float) -> None:
    env = crowd(team_sizes=[3], num_envs=2, team_reward=team_reward)
    assert env.step(act(env.reset()))["next", keys.REWARD].flatten().tolist() == [expected] * 2
    with pytest.raises(ValueError, match=r"env\.team_reward must be one of sum, mean, got 'max'"):
        crowd(team_reward="max")


class Ending(Crowd):
    """All agents die in step 4 and are not observed any more."""

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        seen, rewards, terminations, truncations, infos = super().step(actions)
        if self.t == 4:
            self.agents = []
            return {}, rewards, dict.fromkeys(terminations, True), truncations, infos
        return seen, rewards, terminations, truncations, infos


def test_an_episode_whose_agents_have_all_died_is_terminated_with_its_last_observation() -> None:
    env = crowd([2], 1, make=Ending, won=lambda game: game.total > 0)
    assert env.winnable
    seen = episode(env)
    assert len(seen) == 1 + 4
    assert seen[-1][keys.TERMINATED].item()
    assert seen[-1][keys.WON].item()
    assert not seen[-1][keys.TRUNCATED].item()
    assert torch.equal(seen[-1][keys.ENTITIES], seen[-2][keys.ENTITIES])


class DyingLast(Crowd):
    """The last agent dies in step 6, which truncates the others."""

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        seen, rewards, terminations, truncations, infos = super().step(actions)
        if self.t == self.limit:
            terminations["newcomer"] = True
        return seen, rewards, terminations, truncations, infos


def test_an_agent_that_dies_in_the_step_that_truncates_the_others_leaves_its_slot() -> None:
    before, last = episode(crowd([3], 1, make=DyingLast))[-2:]
    assert before[keys.PRESENT][0, :4].tolist() == [True, True, False, True]
    assert last[keys.TRUNCATED].item()
    assert last[keys.PRESENT][0, :4].tolist() == [True, True, False, False]
    assert keys.acting(last[keys.VISIBLE])[0].tolist() == [True, True, False, False]


@pytest.mark.parametrize("won", [True, False])
def test_an_episode_that_the_limit_of_the_world_ends_can_be_won(won: bool) -> None:
    seen = episode(crowd([2], 1, max_steps=5, won=lambda game: won and game.t == 5))
    assert len(seen) == 1 + 5
    assert [td[keys.WON].item() for td in seen[1:]] == [False] * 4 + [won]
    assert seen[-1][keys.TRUNCATED].item()


def test_the_number_of_agents_is_limited_only_at_once() -> None:
    env = crowd(team_sizes=[3], num_envs=1, capacity=3)
    seen = episode(env)
    assert seen[4][keys.PRESENT][0].all(), "the newcomer has the slot of the dead agent"
    assert seen[4][keys.ENTITIES][0, 2, 0] == 3.0
    with pytest.raises(ValueError, match="must not exceed capacity 2, the number of agent slots; got 3"):
        crowd(team_sizes=[3], capacity=2)


def test_worlds_of_a_batch_are_independent_and_go_on_where_they_were_saved() -> None:
    few, many = (crowd(num_envs=n, seed=3).reset()[keys.ENTITIES] for n in (2, 5))
    assert torch.equal(few, many[:2])
    env, other = crowd(num_envs=4), crowd(num_envs=4, seed=9)
    td = act(env.rollout(4, break_when_any_done=False)[:, -1]["next"])
    other.set_extra_state(env.get_extra_state())
    expected, found = (world.step(td.clone())["next"] for world in (env, other))
    for key in (keys.ENTITIES, keys.PRESENT, keys.VISIBLE, keys.ACTION_MASK, keys.REWARD):
        assert torch.equal(expected[key], found[key])


def test_closing_closes_every_environment() -> None:
    env = crowd(team_sizes=[2], num_envs=2)
    env.reset()
    made = [game._envs[2] for game in env._games]
    env.close()
    assert [game.closed for game in made] == [1, 1]


def returning(**parts: Any) -> type[Crowd]:
    """A crowd whose step returns other parts."""

    class Broken(Crowd):
        def step(self, actions: dict[str, int]) -> Any:
            names = ("observations", "rewards", "terminations", "truncations", "infos")
            returned = dict(zip(names, super().step(actions), strict=True))
            if "all" in parts:
                return parts["all"](returned)
            return tuple({**returned, **{name: change(returned[name]) for name, change in parts.items()}}.values())

    return Broken


def alone(agent: str, observation: Any) -> Any:
    return [observation["place"], 1.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"make": returning(all=lambda r: [*r.values()])}, "step of a parallel environment must return the dicts obs"),
        ({"make": returning(all=lambda r: tuple(r.values())[:4])}, "rewards, terminations, truncations, infos, got tu"),
        ({"make": returning(rewards=lambda r: 1.0)}, "must return the dicts observations, rewards, terminations"),
        ({"make": returning(rewards=lambda r: {})}, "the reward of 'agent_0' as one number, got NoneType None"),
        ({"make": returning(rewards=lambda r: dict.fromkeys(r, "1"))}, "the reward of 'agent_0' as one number, got st"),
        ({"make": returning(rewards=lambda r: dict.fromkeys(r, np.nan))}, "reward must be finite in float32, got nan"),
        ({"make": returning(terminations=lambda r: {a: [0, 1] for a in r})}, "the termination of 'agent_0' as one n"),
        ({"make": returning(observations=lambda r: {})}, "an observation of each agent in `agents`, got none of 'agen"),
        ({"observe": lambda agent, seen: [1.0]}, "features (observe: 'agent_0' as seen by 'agent_0') of shape (2,), g"),
        ({"observe": lambda agent, seen: {"stone": [1, 2]}}, "for 'agent_0' it returned ['stone']"),
        ({"n_others": 0}, "n_others=0 is too small for 1 at once ('stone')"),
        ({"n_actions": 2}, "the action space of 'agent_0' must be Discrete of at most n_actions=2, got name"),
    ],
)  # fmt: skip
def test_what_breaks_the_api_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WorldFaultError, match=re.escape(message)):
        episode(crowd(**{"team_sizes": [2], "num_envs": 1, **changes}))


def test_a_vector_is_the_agent_itself_which_sees_no_others() -> None:
    td = crowd(team_sizes=[3], num_envs=1, observe=alone, n_others=0).reset()
    assert td[keys.VISIBLE][0, :3].long().tolist() == torch.eye(3, 4, dtype=torch.int64).tolist()
    assert td[keys.ENTITIES][0, :, 0].tolist() == [0.0, 1.0, 2.0, 0.0]
    nested = {"a": (1, [2.0, np.array([[3]])]), "action_mask": [1, 1], "b": {"c": np.float32(4)}}
    assert flat("agent_0", nested).tolist() == [1.0, 2.0, 3.0, 4.0]
    assert len(flat("agent_0", {})) == 0


class Tuples:
    """Two agents, the API of Gymnasium with a tuple per agent."""

    def __init__(self, size: int) -> None:
        self.action_space = [SimpleNamespace(n=2, start=1)] * size

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.t, self.drawn = 0, (seed or 0) % 97
        return self.observations(), {}

    def step(self, actions: list[int]) -> tuple[Any, ...]:
        assert set(actions) <= {1, 2}
        self.t += 1
        return self.observations(), [0.5 * action for action in actions], self.t == 3, False, {}

    def observations(self) -> tuple[np.ndarray, ...]:
        return tuple(np.array([self.drawn, self.t + i], dtype=np.float32) for i in range(len(self.action_space)))

    def close(self) -> None:
        pass


def tuples(size: int) -> FromTuples:
    return FromTuples(Tuples(size))


def test_environments_with_tuples_are_parallel_environments() -> None:
    settings = {"make": tuples, "observe": flat, "n_others": 0, "n_actions": 2, "max_steps": 9, "team_reward": "sum"}
    check_env_specs(crowd([2, 3], 2, **settings), seed=0)
    env = crowd([2, 3], 2, **settings)
    seen = episode(env)
    assert len(seen) == 1 + 3
    assert seen[-1][keys.TERMINATED].all()
    assert torch.equal(seen[1][keys.REWARD], seen[1][keys.PRESENT].sum(dim=1, keepdim=True).float())
