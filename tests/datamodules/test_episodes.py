from __future__ import annotations

import pytest
import torch
from script_world import ScriptWorld
from tensordict import TensorDict

from mipi_pl import spec as keys
from mipi_pl.datamodules.episodes import EpisodeAssembler, empty_episodes, summarize
from mipi_pl.datamodules.trimming import trim

LENGTHS = [[3, 1, 4], [2, 2, 5], [6]]
STEPS = 17


def played() -> tuple[ScriptWorld, TensorDict]:
    """STEPS random steps of all environments: [B, STEPS]."""
    torch.manual_seed(0)
    env = ScriptWorld(LENGTHS, num_envs=3)
    return env, env.rollout(STEPS, break_when_any_done=False, return_contiguous=True)


def by_hand(steps: TensorDict, spec: keys.EntitySpec) -> dict[tuple[int, int], dict[str, torch.Tensor]]:
    """Every whole episode of the stream by (environment, number), step by step."""
    found = {}
    for b, row in enumerate(LENGTHS):
        start, number = 0, 0
        while start + row[number % len(row)] <= STEPS:
            length = row[number % len(row)]
            episode = {name: value[0].clone() for name, value in empty_episodes(1, spec).flatten_keys("/").items()}
            for t in range(length):
                step = steps[b, start + t]
                for key in ("entities", "present", "agents/visible", "agents/action_mask", "agents/action"):
                    episode[key][t] = step[tuple(key.split("/"))]
                for key in ("reward", "terminated", "truncated"):
                    episode[key][t] = step["next", key].squeeze(-1)
                episode["valid"][t] = True
                for key in ("entities", "present", "agents/visible", "agents/action_mask"):
                    episode[key][t + 1] = step[("next", *key.split("/"))]
            episode["won"], episode["composition"] = torch.tensor(number % 2 == 1), torch.tensor(number % 2)
            found[b, number] = episode
            start += length
            number += 1
    return found


@pytest.mark.parametrize("per_collection", [1, 4, STEPS])
def test_episodes_that_end_at_different_times_are_whole_and_exact(per_collection: int) -> None:
    env, steps = played()
    assembler = EpisodeAssembler(3, env.entity_spec)
    parts = [assembler.add(steps[:, t : t + per_collection]) for t in range(0, STEPS, per_collection)]
    episodes = torch.cat([part for part in parts if part is not None])
    expected = by_hand(steps, env.entity_spec)
    found = {}
    for episode in episodes:
        b, number = episode["entities"][0, 0, :2].int().tolist()
        assert (b, number) not in found
        found[b, number] = episode.flatten_keys("/")
    assert found.keys() == expected.keys()
    for which, episode in expected.items():
        for key, value in episode.items():
            assert torch.equal(found[which][key], value), (which, key)


def test_an_episode_ends_with_the_observation_that_the_world_showed_last_not_with_the_next_first() -> None:
    env, steps = played()
    episodes = EpisodeAssembler(3, env.entity_spec).add(steps)
    assert episodes is not None
    for episode in episodes:
        length = int(episode["valid"].sum())
        assert episode["entities"][: length + 1, 0, 2].tolist() == list(range(length + 1))
        assert (episode["entities"][: length + 1, 0, 1] == episode["entities"][0, 0, 1]).all()


def test_an_episode_longer_than_the_spec_is_an_error() -> None:
    env = ScriptWorld([[3]], num_envs=1, max_steps=2)
    env.checked = False  # as compiled worlds are; a checked one does not let the episode go on
    with pytest.raises(ValueError, match="longer than max_steps=2"):
        EpisodeAssembler(1, env.entity_spec).add(env.rollout(3, return_contiguous=True))


def test_an_episode_may_be_as_long_as_the_spec() -> None:
    env = ScriptWorld([[3]], num_envs=1, max_steps=3)
    episodes = EpisodeAssembler(1, env.entity_spec).add(env.rollout(3, return_contiguous=True))
    assert episodes is not None
    assert episodes["valid"].tolist() == [[True, True, True, False]]


def test_trimming_keeps_the_first_agents_first_and_cuts_what_nobody_fills() -> None:
    env, steps = played()
    episodes = EpisodeAssembler(3, env.entity_spec).add(steps)
    assert episodes is not None
    of_first = episodes[episodes["entities"][:, 0, 0, 0] == 0]
    cut = trim(of_first, n_agents=2)
    longest = int(of_first["valid"].sum(dim=1).max())
    assert cut[keys.ENTITIES].shape[1:] == (longest + 1, 3, 4)
    assert cut[keys.VISIBLE].shape[1:] == (longest + 1, 2, 3)
    assert torch.equal(cut[keys.ENTITIES], of_first[keys.ENTITIES][:, : longest + 1, :3])
    of_first[keys.PRESENT][..., 1] = False  # a team of one: its second agent slot goes, the other entities move up
    cut = trim(of_first, n_agents=2)
    assert cut[keys.ENTITIES][..., -1].int()[0, 0].tolist() == [0, 2]
    assert cut[keys.ACTION_MASK].shape[2] == cut[keys.ACTION].shape[2] == cut[keys.VISIBLE].shape[2] == 1
    assert torch.equal(cut[keys.VISIBLE], of_first[keys.VISIBLE][:, : longest + 1, :1][..., [0, 2]])


def test_summaries_hold_return_length_outcome_and_composition() -> None:
    env, steps = played()
    episodes = EpisodeAssembler(3, env.entity_spec).add(steps)
    assert episodes is not None
    found = summarize(episodes, env.entity_spec)
    for k, episode in enumerate(episodes):
        b, number = episode["entities"][0, 0, :2].int().tolist()
        length = LENGTHS[b][number % len(LENGTHS[b])]
        scripted = sum(100 * b + 10 * number + t for t in range(length))
        actions = episode["agents", "action"][:length].sum() / 1000
        assert found["length"][k] == length
        assert found["return_"][k] == pytest.approx(scripted + float(actions), rel=1e-5)
        assert found["won"][k] == (number % 2 == 1)
        assert found["composition"][k] == number % 2
        # Even episodes are truncated, and the time limit is six steps.
        assert found["cut_short"][k] == (number % 2 == 0 and length < 6)
