"""Rejected values, episode ends, options and the picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from mipi_pl import spec as keys
from mipi_pl.envs.picture import SIDE_COLOURS, draw
from mipi_pl.envs.resource.env import ResourceCollection
from mipi_pl.envs.scene import AGENTS, OTHERS, THINGS, view_of

Make = Callable[..., ResourceCollection]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"team_sizes": [9]}, "must not exceed capacity, got 9 with capacity 8; raise capacity"),
        ({"team_sizes": []}, "team_sizes must list at least one size"),
        ({"team_sizes": [3, 3]}, "none twice"),
        ({"team_sizes": [0]}, "env.team_sizes must be at least 1, got 0"),
        ({"capacity": 0}, "env.capacity must be at least 1"),
        ({"episode_limit": 0}, "env.episode_limit must be at least 1"),
        ({"invader_delay": 0}, "env.invader_delay must be at least 1"),
        ({"sight_range": float("nan")}, "env.sight_range must be above 0, got nan"),
        ({"mass": 0.0}, "env.mass must be above 0"),
        ({"touch_margin": -0.1}, "env.touch_margin must be at least 0"),
        ({"damping": 1.5}, "env.damping must be at least 0 and at most 1"),
        ({"skill_levels": []}, "env.skill_levels must list at least one level, got none"),
        ({"speed_levels": [0.0]}, "env.speed_levels must be above 0"),
        ({"resource_radius": [0.4]}, r"must be \[nearest, farthest\] distance from home, got \[0.4\]"),
        ({"resource_radius": [0.5, 0.4]}, r"farthest\) must be at least 0.5, got 0.4"),
        ({"resource_radius": [0.4, 1.2]}, "must be at most 0.96, within reach of agents, got 1.2"),
        ({"resource_spacing": 0.5}, "leaves too little room for 6 resources"),
        ({"start_radius": 0.9}, "start_radius must be at most 0.86 so that agents start within the walls, got 0.9"),
        ({"num_envs": 0}, "num_envs must be at least 1"),
    ],
)
def test_impossible_values_are_refused(make_world: Make, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_world(**changed)


@pytest.mark.parametrize("action", [5, -1, 99])
def test_an_unavailable_action_names_environment_agent_and_what_was_available(make_world: Make, action: int) -> None:
    env = make_world([3])
    td = env.rand_action(env.reset())
    td[keys.ACTION][2, 1] = action
    agents = env.state.agents.copy()
    with pytest.raises(ValueError, match=rf"environment 2, agent 1: action {action} is not .* are 0 \(stay\), 1 \(nor"):
        env.step(td)
    assert (env.state.agents == agents).all()  # nothing was played
    td[keys.ACTION][2, 1], td[keys.ACTION][0, 3] = 0, 1
    with pytest.raises(ValueError, match=r"environment 0, agent 3: action 1 \(north\).* available are 0 \(stay\)\."):
        env.step(td)


def test_scripted_policies_know_their_names(make_world: Make) -> None:
    with pytest.raises(ValueError, match="scripted policies of this world are random, expert, got 'focus_fire'"):
        make_world().scripted_policy("focus_fire")


def test_the_limit_truncates_and_nothing_is_won(make_world: Make) -> None:
    env = make_world([3], episode_limit=4)
    td = env.reset()
    for step in range(1, 5):
        td = env.rand_step(td)["next"]
        assert td[keys.TRUNCATED].flatten().tolist() == [step == 4] * 3
        assert not td[keys.TERMINATED].any()
        assert not td[keys.WON].any()
    agents = env.state.agents.copy()
    after = env.step(env.rand_action(td))["next"]  # an ended episode stands still and pays nothing
    assert (env.state.agents == agents).all()
    assert after[keys.REWARD].sum() == 0
    assert after[keys.TRUNCATED].all()


def test_the_actions_go_where_they_say(make_world: Make) -> None:
    env = make_world([1], num_envs=5, capacity=1)
    td = env.reset()
    env.state.agents["x"], env.state.agents["y"] = 0.25, 0.25
    env.step(td.set(keys.ACTION, torch.arange(5).unsqueeze(-1)))
    moved = torch.tensor([[a.x - 0.25, a.y - 0.25] for a in env.state.agents[:, 0]]).sign().tolist()
    assert moved == [[0, 0], [0, 1], [0, -1], [1, 0], [-1, 0]]


@pytest.mark.parametrize(("option", "factor"), [("reward_scale", 0.1), ("collect_reward", None)])
def test_rewards_can_be_changed(make_world: Make, option: str, factor: float | None) -> None:
    plain, changed = make_world([8], seed=3), make_world([8], seed=3, **{option: factor or 0.0})
    totals = []
    for env in (plain, changed):
        expert, td, total = env.scripted_policy("expert"), env.reset(), torch.zeros(3, 1)
        for _ in range(80):
            td = env.step(expert(td))["next"]
            total += td[keys.REWARD]
        totals.append(total.flatten())
    episodes = changed.state.episodes
    other = torch.from_numpy(episodes["delivered"] + 4 * episodes["caught"] - 4 * episodes["lost"]).float()
    expected = totals[0] * factor if factor else other
    torch.testing.assert_close(totals[1], expected)
    assert (totals[0] > 20).all()


def test_other_numbers_of_types_change_the_layout(make_world: Make) -> None:
    env = make_world([2], capacity=3, resource_types=2, resources_per_type=4, num_envs=1)
    names = env.entity_spec.feature_names
    assert env.entity_spec.n_entities == 3 + 1 + 8 + 1
    assert [name for name in names if "skill" in name] == ["skill_0", "skill_1"]
    first = env.reset()[keys.ENTITIES][0]
    kinds = [names[int(row)] for row in first[[0, 3, 4, 5, 6, 12], :5].argmax(-1)]
    assert kinds == ["is_agent", "is_home", "is_resource_0", "is_resource_1", "is_resource_0", "is_invader"]


def test_the_random_policy_follows_its_seed_and_leaves_empty_slots_alone(make_world: Make) -> None:
    env = make_world([3], num_envs=8)
    env.reset()
    empty = TensorDict({}, batch_size=[8])
    one, again, other = (env.scripted_policy("random", seed)(empty.clone())[keys.ACTION] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert (one[:, 3:] == 0).all()
    assert one[:, :3].unique().tolist() == [0, 1, 2, 3, 4]


def test_scenes_show_the_episode_that_is_played(make_world: Make) -> None:
    env = make_world([3], seed=4)
    policy, td = env.scripted_policy("expert"), env.reset()
    scenes = [env.scene(1)]
    for _ in range(60):
        td = env.step(policy(td))["next"]
        scenes.append(env.scene(1))
    carries, invader = [], []
    for scene in scenes:
        assert [body.kind for body in scene.bodies[:4]] == ["agent"] * 3 + ["home"]
        carries.append([bool(body.carries) for body in scene.bodies[:3]])
        invader.append(scene.bodies[-1].here)
    held = np.array(carries)
    assert not held[0].any()
    assert (held[1:] & ~held[:-1]).sum() == env.state.episodes[1].collected > 0
    assert (held[:-1] & ~held[1:]).sum() == env.state.episodes[1].delivered > 0
    assert any(invader)
    assert not all(invader)
    agent, state = scenes[-1].bodies[2], env.state.agents[1, 2]
    assert (agent.x, agent.y) == (state.x, state.y)
    picture = draw(scenes[invader.index(True)], view=view_of(scenes), size=960)[60:]
    for side in (AGENTS, OTHERS, THINGS):
        assert (picture == SIDE_COLOURS[side]).all(axis=-1).any()


def test_the_unit_of_places_changes_their_features_and_nothing_else(make_world: Make) -> None:
    world, scaled = make_world(seed=3), make_world(seed=3, position_unit=0.2)
    places = [world.entity_spec.feature_names.index(name) for name in ("x", "y")]
    td, other = world.reset(), scaled.reset()
    for _ in range(10):
        expected = td[keys.ENTITIES].clone()
        expected[..., places] /= 0.2
        torch.testing.assert_close(other[keys.ENTITIES], expected)
        assert (td[keys.VISIBLE] == other[keys.VISIBLE]).all()
        action = torch.where(td[keys.ACTION_MASK][..., 1], 1, 0)
        td, other = (env.step(of.set(keys.ACTION, action))["next"] for env, of in ((world, td), (scaled, other)))
        assert (td[keys.REWARD] == other[keys.REWARD]).all()
