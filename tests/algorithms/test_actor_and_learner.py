"""The actor, step by step, computes what the learner computes over whole episodes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from acting import AVAILABLE, observation
from script_world import ScriptWorld
from tensordict import TensorDict
from worlds import Sizes, random_batch, small_mipi, small_q

from mipi_pl import spec as keys
from mipi_pl.algorithms.batch import EpisodeBatch
from mipi_pl.datamodules.episodes import EpisodeAssembler
from mipi_pl.models.packing import PackedSteps
from mipi_pl.models.targets import Perceived

LENGTHS = [[3, 1, 4], [2, 2, 5], [6]]


def test_an_agent_that_pauses_goes_on_as_the_learner_takes_it() -> None:
    """The first of three agents, in the middle two of four steps."""
    algorithm, actor = small_mipi(Sizes().spec, hidden=8), small_mipi(Sizes().spec, hidden=8).actor(greedy=True)
    actor.agent = algorithm.agent
    rows = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(1))
    visible = torch.ones(4, 3, 3, dtype=torch.bool)
    visible[1:3, 0] = False
    seen = []
    for step in range(4):
        td = (
            observation(AVAILABLE).set(keys.ENTITIES, rows[step : step + 1]).set(keys.VISIBLE, visible[step : step + 1])
        )
        actor(td.set(keys.IS_INIT, torch.tensor([[step == 0]])))
        assert actor.thought is not None
        seen.append(actor.thought.seen)
    inputs = torch.cat([one.entities for one in seen])
    steps = PackedSteps.from_mask(torch.ones(1, 4, dtype=torch.bool)).with_acting(keys.acting(visible))
    whole, _ = algorithm.agent.trunk(inputs, visible.unsqueeze(1), steps)
    torch.testing.assert_close(torch.cat([one.features for one in seen]), whole.view(0).features)
    assert (whole.features[1:3, 0, 0] == 0).all()
    assert (whole.features[3, 0, 0] != 0).any()
    everyone = PackedSteps.from_mask(torch.ones(1, 4, dtype=torch.bool))
    gone_on, _ = algorithm.agent.trunk(inputs, visible.unsqueeze(1), everyone)
    assert not torch.allclose(gone_on.features[3, 0, 0], whole.features[3, 0, 0])


@pytest.mark.parametrize("make", [small_mipi, small_q, partial(small_q, kind="collaq")])
def test_step_by_step_features_are_the_learners_over_whole_episodes(make: Any) -> None:
    env = ScriptWorld(LENGTHS, num_envs=3)
    algorithm = make(env.entity_spec)
    actor = algorithm.actor(greedy=False, seed=0)
    seen, td, assembler = {}, env.reset(), EpisodeAssembler(3, env.entity_spec)
    original = actor._perceive

    def remember(observed: TensorDict) -> Perceived:
        perceived = original(observed)
        for b in range(3):
            seen[tuple(observed["entities"][b, 0, :3].int().tolist())] = perceived.features[b].clone()
        return perceived

    vars(actor)["_perceive"] = remember
    whole = []
    for _ in range(17):
        stepped, td = env.step_and_maybe_reset(actor(td))
        whole.append(assembler.add(stepped.unsqueeze(1)))
    episodes = torch.cat([part for part in whole if part is not None])
    b = EpisodeBatch.from_tensordict(episodes, env.entity_spec, truncation_is_terminal=True)
    features = algorithm._perceive(b, b.visible.unsqueeze(1)).features[:, 0]
    compared = 0
    for row in b.played.tolist():
        key = tuple(b.inputs[row, 0, :3].int().tolist())
        torch.testing.assert_close(seen[key], features[row], rtol=1e-5, atol=1e-6)
        compared += 1
    assert compared == int(episodes["valid"].sum()) >= 40


def test_a_row_starts_afresh_where_is_init_and_only_there() -> None:
    algorithm = small_mipi(Sizes().spec)
    actor = algorithm.actor(greedy=True)
    first, later = observation(AVAILABLE, envs=2), observation(AVAILABLE, envs=2)
    fresh = actor._perceive(first).features.clone()
    actor(first)
    later["is_init"] = torch.tensor([[False], [True]])
    later["entities"] = first["entities"].clone()
    found = actor._perceive(later).features
    torch.testing.assert_close(found[1], fresh[1])
    assert not torch.allclose(found[0], fresh[0])


def test_the_actor_acts_with_the_networks_that_are_trained() -> None:
    algorithm = small_mipi(Sizes().spec)
    actor = algorithm.actor(greedy=True)
    assert {p.data_ptr() for p in actor.parameters()} == {p.data_ptr() for p in algorithm.agent.parameters()}


def test_the_batch_appends_the_last_action_and_masks_the_last_observation() -> None:
    s = Sizes()
    raw = random_batch(s)
    b = EpisodeBatch.from_tensordict(raw, s.spec, truncation_is_terminal=True)
    row = 0
    for n, length in enumerate(s.lengths):
        for t in range(length + 1):
            one_hot = b.inputs[row, : s.n_agents, s.n_features :]
            if t == 0:
                assert (one_hot == 0).all()
            else:
                assert torch.equal(one_hot.argmax(-1), raw["agents", "action"][n, t - 1])
                assert (one_hot.sum(-1) == 1).all()
            assert (b.inputs[row, s.n_agents :, s.n_features :] == 0).all()
            assert (row in b.played.tolist()) == (t < length)
            assert torch.equal(b.deciding[row], b.acting[row] & (t < length))
            row += 1
    assert len(b.inputs) == row
