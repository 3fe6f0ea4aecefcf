"""Recordings equal the episodes that were played, and the networks that the agents used."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mipi_pl import spec as keys
from mipi_pl.actor import Actor
from mipi_pl.envs.matrix import MatrixGame
from mipi_pl.envs.picture import draw
from mipi_pl.envs.resource.env import ResourceCollection
from mipi_pl.envs.scene import AGENTS, OTHERS, Body, Scene, view_of
from mipi_pl.evaluation.inspection import InspectedPolicy
from mipi_pl.evaluation.page import write_page
from mipi_pl.evaluation.recording import Recording, record
from mipi_pl.evaluation.rollout import play
from mipi_pl.evaluation.video import beside_each_other, write_gif
from mipi_pl.losses.information import log_policy
from mipi_pl.models.agent import EntityAgent, UtilityAgent
from mipi_pl.models.collaq import CollaQAgent
from mipi_pl.models.marginal import MarginalPolicy
from mipi_pl.utils.errors import DivergedError, UserError


def world(num_envs: int = 2, seed: int = 4) -> ResourceCollection:
    return ResourceCollection([2, 3], capacity=4, num_envs=num_envs, seed=seed, episode_limit=6, sight_range=0.6)


def make_agent(kind: type = EntityAgent, **options: Any) -> Any:
    torch.manual_seed(0)
    spec = world(1).entity_spec
    return kind(spec.n_features, spec.n_kinds, width=16, heads=2, hidden=8, **options)


def make_marginal() -> MarginalPolicy:
    spec = world(1).entity_spec
    torch.manual_seed(1)
    return MarginalPolicy(spec.n_features, spec.n_kinds, width=16, hidden=8)


@pytest.fixture(scope="module")
def inspected() -> tuple[list[Recording], EntityAgent, MarginalPolicy]:
    agent, marginal = make_agent(), make_marginal()
    policy = InspectedPolicy(Actor(agent, greedy=True), marginal)
    return record(world(), policy, "mine"), agent, marginal


def test_a_recording_is_what_the_rollout_counts(inspected: tuple[list[Recording], Any, Any]) -> None:
    recordings, agent, _ = inspected
    env = world()
    played = play(env, Actor(agent, greedy=True))
    for row, recording in enumerate(recordings):
        assert len(recording.scenes) - 1 == len(recording.rewards) == len(recording.action) == played.length[row] == 6
        assert sum(recording.rewards) == pytest.approx(float(played.return_[row]))
        assert recording.composition == env.compositions[played.composition[row]].label
        assert recording.won is None


def test_the_last_scene_is_the_end_and_not_the_next_beginning() -> None:
    game = MatrixGame({"AB": [[3.0, 0.0], [0.0, 0.0]]}, ["AB"], num_envs=1)

    def first(td: Any) -> Any:
        return td.set(keys.ACTION, torch.zeros(1, 2, dtype=torch.int64))

    (recording,) = record(game, first, "first")
    assert [scene.outcome for scene in recording.scenes] == ["to choose", "paid 3"]
    assert recording.won


def test_an_episode_is_the_same_whatever_is_recorded_beside_it() -> None:
    alone, beside = (record(world(n), Actor(make_agent(), greedy=True), "mine")[0] for n in (1, 3))
    assert alone.scenes == beside.scenes
    assert torch.equal(alone.action, beside.action)


def test_a_further_episode_is_what_the_rollout_counts_and_has_its_own_insight() -> None:
    agent = make_agent()
    recordings = record(world(), InspectedPolicy(Actor(agent, greedy=True), make_marginal()), "mine", episodes=5)
    played = play(world(), Actor(agent, greedy=True), episodes_per_env=3)
    assert len(recordings) == 5
    assert [sum(recording.rewards) for recording in recordings] == pytest.approx(played.return_[:5].tolist())
    third = recordings[2]
    assert third.insight is not None
    assert third.insight.probabilities is not None
    team = len([body for body in third.scenes[0].bodies if body.side == AGENTS])
    assert torch.equal(third.action[:, :team], third.insight.probabilities.argmax(dim=-1)[:, :team])
    assert third.scenes[0] != recordings[0].scenes[-1]
    assert len(third.scenes) - 1 == len(third.rewards) == int(played.length[2])


def test_the_probabilities_shown_are_those_that_the_actor_acts_with(
    inspected: tuple[list[Recording], EntityAgent, Any],
) -> None:
    recordings, agent, _ = inspected
    env, acted = world(), []
    actor = Actor(agent, greedy=True)
    head = agent.policy_logits
    # What the head gives while another actor acts: nothing of the inspection is in between.
    hook = head.register_forward_hook(lambda _, __, logits: acted.append(logits.detach().clone()))
    masks = []

    def act(td: Any) -> Any:
        masks.append(td[keys.ACTION_MASK].clone())
        return actor(td)

    play(env, act)
    hook.remove()
    for row, recording in enumerate(recordings):
        assert recording.insight is not None
        expected = torch.stack([log_policy(x[row], mask[row]).exp() for x, mask in zip(acted, masks, strict=True)])
        torch.testing.assert_close(recording.insight.probabilities, expected)
        team = len([body for body in recording.scenes[0].bodies if body.side == AGENTS])
        assert torch.equal(recording.action[:, :team], expected.argmax(dim=-1)[:, :team])


def test_attention_sums_to_one_over_what_is_seen_and_is_what_the_network_mixes_with(
    inspected: tuple[list[Recording], EntityAgent, Any],
) -> None:
    recordings, agent, _ = inspected
    for recording in recordings:
        assert recording.insight is not None
        attention = recording.insight.attention
        assert attention is not None
        assert (attention[~recording.visible] == 0).all()
        torch.testing.assert_close(attention.sum(dim=-1), recording.visible.any(dim=-1).float())
    trunk = agent.trunk.attention
    inputs, view = torch.rand(5, 7, trunk.embed.in_features), torch.rand(5, 3, 7) > 0.4
    value = trunk.key_value(trunk.embed(inputs).relu())[..., 16:].unflatten(-1, (2, 8)).transpose(1, 2)
    mixed = (trunk.weights(inputs, view) @ value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(mixed, trunk(inputs, view.unsqueeze(1))[:, 0])


def test_the_price_is_the_divergence_from_the_marginal(
    inspected: tuple[list[Recording], EntityAgent, MarginalPolicy],
) -> None:
    insight = inspected[0][0].insight
    assert insight is not None
    assert insight.probabilities is not None
    assert insight.marginal is not None
    torch.testing.assert_close(insight.marginal.sum(dim=-1), torch.ones(6, 4))
    p, m = insight.probabilities.double(), insight.marginal.double()
    expected = torch.where(p > 0, p * (p / m.clamp_min(1e-30)).log(), 0.0).sum(dim=-1)
    torch.testing.assert_close(insight.kl, expected.float(), atol=1e-5, rtol=1e-4)
    assert (insight.kl >= -1e-6).all()


def test_an_agent_that_sees_itself_alone_attends_to_nothing_else() -> None:
    policy = InspectedPolicy(Actor(make_agent(own_entity_only=True), greedy=True))
    insight = record(world(1), policy, "alone")[0].insight
    assert insight is not None
    assert insight.attention is not None
    assert insight.attention[:, 0, 0].eq(1.0).all()
    assert insight.attention[:, 0, 1:].eq(0.0).all()


@pytest.mark.parametrize("kind", [UtilityAgent, CollaQAgent])
def test_what_an_agent_does_not_have_is_left_out(kind: type) -> None:
    recording = record(world(1), InspectedPolicy(Actor(make_agent(kind), greedy=True)), "values")[0]
    insight = recording.insight
    assert insight is not None
    assert insight.probabilities is insight.marginal is insight.kl is None
    assert insight.utilities is not None
    best = insight.utilities.masked_fill(~recording.available, -torch.inf).argmax(dim=-1)
    assert torch.equal(recording.action[:, 0], best[:, 0])
    assert record(world(1), world(1).scripted_policy("expert"), "expert")[0].insight is None


def test_a_trunk_without_attention_is_shown_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent()
    monkeypatch.delattr(type(agent.trunk), "attention_weights")
    insight = record(world(1), InspectedPolicy(Actor(agent, greedy=True), make_marginal()), "mine")[0].insight
    assert insight is not None
    assert insight.attention is None
    assert insight.kl is not None


def test_utilities_that_were_never_learned_are_left_out() -> None:
    insight = record(world(1), InspectedPolicy(Actor(make_agent(), greedy=True), utilities=False), "ppo")[0].insight
    assert insight is not None
    assert insight.utilities is None
    assert insight.probabilities is not None


def test_networks_that_diverged_are_told_of() -> None:
    agent = make_agent()
    agent.policy_logits.weight.data.fill_(torch.nan)
    with pytest.raises(DivergedError, match="the policy diverged: its probabilities are not finite"):
        record(world(1), InspectedPolicy(Actor(agent, greedy=True)), "nan")


def test_an_observation_that_is_not_finite_is_no_divergence() -> None:
    td = world(2).reset()
    td[keys.ENTITIES][1, 3, 0] = torch.nan
    for by_utilities in (False, True):
        actor = Actor(make_agent(), greedy=True, by_utilities=by_utilities)
        with pytest.raises(UserError, match=r"got NaN or infinity in environment 1, slot 3, feature 0"):
            actor(td.clone())


def test_a_world_without_pictures_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ResourceCollection, "scene")
    monkeypatch.setattr("mipi_pl.envs.plain_scene.POSITIONS", ())
    env = world(1)
    with pytest.raises(
        NotImplementedError, match=r"has no pictures: name two features .* or implement its method scene"
    ):
        record(env, env.scripted_policy("expert"), "expert")


def body(slot: int, x: float, **more: Any) -> Body:
    return Body(**{"slot": slot, "side": AGENTS, "kind": "marine", "name": f"marine {slot}", "label": str(slot),
                   "x": x, "y": 5.0, "radius": 0.5, **more})  # fmt: skip


def test_the_view_holds_everything_that_is_there_and_ignores_what_is_not() -> None:
    scenes = [Scene((body(0, x), body(1, 90.0, here=False)), (0.0, 0.0, 99.0), 9.0, "") for x in (2.0, 6.0)]
    west, south, side = view_of(scenes, margin=0.1)
    assert (west, south, side) == pytest.approx((4.0 - 3.0, 5.0 - 3.0, 6.0))
    with pytest.raises(ValueError, match="got none"):
        view_of([])


def test_bars_targets_and_the_gone_are_drawn() -> None:
    draw_it = partial(draw, size=200)
    scenes = {
        name: Scene((body(0, 2.0, **one), body(1, 8.0, side=OTHERS)), (0.0, 0.0, 10.0), 9.0, "")
        for name, one in {
            "whole": {"health": 1.0, "shield": 1.0}, "hurt": {"health": 0.3, "shield": 0.0},
            "aiming": {"health": 1.0, "shield": 1.0, "target": 1}, "gone": {"here": False},
        }.items()
    }  # fmt: skip
    pictures = {name: draw_it(scene) for name, scene in scenes.items()}
    names = list(pictures)
    assert all((pictures[a] != pictures[b]).any() for a in names for b in names if a != b)
    middle = pictures["aiming"][18 + 100, 100]
    assert (middle != pictures["whole"][18 + 100, 100]).any(), "the line goes from one to the other"


def test_a_gif_holds_every_picture_and_shorter_episodes_wait(tmp_path: Any) -> None:
    recordings = [record(world(1), world(1).scripted_policy("expert"), "expert")[0] for _ in range(2)]
    short = Recording(**{**vars(recordings[1]), "scenes": recordings[1].scenes[:3]})
    pictures = beside_each_other([recordings[0], short], size=96)
    assert len(pictures) == 7
    assert pictures[0].shape == (96 + 18, 192, 3)
    assert (pictures[6][:, 96:] == pictures[2][:, 96:]).all()
    assert np.ptp(pictures[0].reshape(-1, 3), axis=0).min() > 50, "something is drawn"
    write_gif(tmp_path / "a.gif", pictures)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames >= 2  # equal neighbours are one frame, shown for longer
        assert image.size == (192, 114)


def test_a_page_names_the_actions_of_each_world(tmp_path: Path) -> None:
    """Another team size may bring other actions, such as where these aim at slots."""
    game, other = MatrixGame({"AB": [[3.0, 0.0], [0.0, 0.0]]}, ["AB"], num_envs=1), world(1)
    shown = {name: record(env, env.rand_action, "random") for name, env in (("game", game), ("other", other))}
    write_page(tmp_path / "watch.html", "", "", shown)
    (text,) = re.findall(r'id="data">(.*?)</script>', (tmp_path / "watch.html").read_text(), re.DOTALL)
    found = [episode["plays"][0]["actions"] for episode in json.loads(text)["episodes"]]
    assert found == [[name.replace("_", " ") for name in env.entity_spec.action_names] for env in (game, other)]
