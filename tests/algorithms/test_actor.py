from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from script_world import ScriptWorld
from tensordict import TensorDict
from worlds import Sizes, random_batch, small_mipi, small_q

from datamodules.episodes import EpisodeAssembler
from mipi_pl import spec as keys
from mipi_pl.actor import Actor
from mipi_pl.algorithms.batch import EpisodeBatch
from mipi_pl.utils.checks import DivergedError
from models.agent import Agent, Trunk
from models.packing import PackedSteps
from models.targets import ActionHead, ActionKinds, Perceived

LENGTHS = [[3, 1, 4], [2, 2, 5], [6]]


def observation(available: list[list[bool]], envs: int = 1) -> TensorDict:
    """One agent per row of `available`, all the same otherwise."""
    agents, actions = len(available), len(available[0])
    g = torch.Generator().manual_seed(0)
    return TensorDict(
        {
            "entities": torch.randn(agents, 3, generator=g).expand(envs, agents, 3),
            "is_init": torch.ones(envs, 1, dtype=torch.bool),
            "agents": {
                "visible": torch.ones(envs, agents, agents, dtype=torch.bool),
                "action_mask": torch.tensor(available).expand(envs, agents, actions),
            },
        },
        batch_size=[envs],
    )


def shares(actor: Actor, td: TensorDict) -> torch.Tensor:
    """How often each agent chooses each action, [A, U]."""
    actions = actor(td)[keys.ACTION]
    return torch.nn.functional.one_hot(actions, td[keys.ACTION_MASK].shape[-1]).double().mean(dim=0)


AVAILABLE = [[True, True, True, True], [True, False, True, False], [False, False, True, False]]
MANY = 20_000


def policy_of(actor: Actor, td: TensorDict) -> torch.Tensor:
    """pi of the first observation [A, U], by hand."""
    logits = actor.agent.policy_logits(actor._perceive(td))[0]
    powers = logits.detach().exp() * td[keys.ACTION_MASK][0]
    return powers / powers.sum(dim=-1, keepdim=True)


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
    steps = PackedSteps.of(torch.ones(1, 4, dtype=torch.bool)).with_acting(keys.acting(visible))
    whole, _ = algorithm.agent.trunk(inputs, visible.unsqueeze(1), steps)
    torch.testing.assert_close(torch.cat([one.features for one in seen]), whole.view(0).features)
    assert (whole.features[1:3, 0, 0] == 0).all()
    assert (whole.features[3, 0, 0] != 0).any()
    everyone = PackedSteps.of(torch.ones(1, 4, dtype=torch.bool))
    gone_on, _ = algorithm.agent.trunk(inputs, visible.unsqueeze(1), everyone)
    assert not torch.allclose(gone_on.features[3, 0, 0], whole.features[3, 0, 0])


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_draws_follow_the_policy_mixed_with_uniform_over_the_available(epsilon: float) -> None:
    actor = small_mipi(Sizes().spec, hidden=8).actor(greedy=False)
    actor.agent.policy_logits.weight.data.mul_(8.0)
    td = observation(AVAILABLE, envs=MANY)
    actor.epsilon = epsilon
    pi = policy_of(actor, td).double()
    uniform = torch.tensor([[0.25] * 4, [0.5, 0, 0.5, 0], [0, 0, 1.0, 0]], dtype=torch.float64)
    assert (pi - uniform).abs().max() > 0.1
    expected = (1 - epsilon) * pi + epsilon * uniform
    found = shares(actor, td)
    assert ((found == 0) == (expected == 0)).all()
    torch.testing.assert_close(found, expected, rtol=0.0, atol=4.5 * 0.5 / MANY**0.5)


def test_exploring_agents_hold_their_actions_and_explore_in_a_share_epsilon_of_their_steps() -> None:
    actor = small_mipi(Sizes().spec).actor(greedy=False)
    actor.agent.policy_logits.weight.data.zero_()
    actor.agent.policy_logits.bias.data.copy_(torch.tensor([50.0, 0.0, 0.0, 0.0]))  # the policy: always the first
    actor.epsilon, actor.hold = 0.4, 5.0
    td = observation([[True] * 4], envs=400)
    played = []
    for _ in range(150):
        played.append(actor(td)[keys.ACTION].clone())
        td["is_init"] = torch.zeros(400, 1, dtype=torch.bool)
    later = torch.stack(played)[50:]
    other = later[:-1] != 0
    begins = 0.4 / (0.4 + 5.0 * 0.6)
    assert other.double().mean().item() == pytest.approx(0.75 * 0.4, abs=0.02)
    kept = (later[1:] == later[:-1])[other].double().mean().item()
    assert kept == pytest.approx(0.8 + 0.2 * begins / 4, abs=0.02)


def test_held_actions_are_dropped_where_they_are_not_available_and_where_an_episode_begins() -> None:
    actor = small_mipi(Sizes().spec).actor(greedy=False)
    actor.epsilon, actor.hold = 1.0, 1e6
    first = actor(observation([[True] * 4], envs=200))[keys.ACTION].clone()
    td = observation([[True, True, False, False]], envs=200)
    td["is_init"][:100] = False
    second = actor(td)[keys.ACTION]
    assert (second < 2).all()
    held = first[:100] < 2
    assert torch.equal(second[:100][held], first[:100][held])
    assert not torch.equal(second[100:][first[100:] < 2], first[100:][first[100:] < 2])


def test_an_actor_that_remembers_goes_on_holding_the_same_actions() -> None:
    algorithm = small_mipi(Sizes().spec)
    td = observation([[True] * 4], envs=50)
    actor = algorithm.actor(greedy=False)
    other = algorithm.actor(greedy=False, seed=1)
    for one in (actor, other):
        one.epsilon, one.hold = 0.5, 4.0
    actor(td)
    other.remember(actor.memory())
    td["is_init"] = torch.zeros(50, 1, dtype=torch.bool)
    for _ in range(5):
        assert torch.equal(actor(td.clone())[keys.ACTION], other(td.clone())[keys.ACTION])


def test_greedy_takes_the_most_probable_available_action_whatever_epsilon() -> None:
    actor = small_mipi(Sizes().spec).actor(greedy=True)
    td = observation(AVAILABLE, envs=2)
    actor.epsilon = 1.0
    assert torch.equal(actor(td)[keys.ACTION][1], policy_of(actor, td).argmax(dim=-1))


def test_by_utilities_it_takes_the_best_available_one_whatever_the_policy() -> None:
    algorithm, td = small_mipi(Sizes().spec), observation(AVAILABLE, envs=2)
    actor, by_policy = algorithm.actor(greedy=True, by_utilities=True), algorithm.actor(greedy=True)
    utilities = actor.agent.utilities(actor._perceive(td))[0].tolist()
    best = [max((u for u in range(4) if row[u]), key=utilities[i].__getitem__) for i, row in enumerate(AVAILABLE)]
    with torch.no_grad():  # a policy that prefers the worst
        for one, other in zip(
            algorithm.agent.policy_logits.parameters(), algorithm.agent.utilities.parameters(), strict=True
        ):
            one.copy_(-other)
    assert actor(td)[keys.ACTION][1].tolist() == best
    assert by_policy(td)[keys.ACTION][1].tolist() != best


@pytest.mark.parametrize("kind", ["refil", "collaq"])
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_without_a_policy_head_it_is_epsilon_greedy_in_the_utilities(kind: str, epsilon: float) -> None:
    actor = small_q(Sizes().spec, kind).actor(greedy=False)
    td = observation(AVAILABLE, envs=MANY)
    actor.epsilon = epsilon
    utilities = actor.agent.utilities(actor._perceive(td))[0].tolist()
    uniform = torch.tensor([[0.25] * 4, [0.5, 0, 0.5, 0], [0, 0, 1.0, 0]], dtype=torch.float64)
    expected = epsilon * uniform
    for i, row in enumerate(AVAILABLE):
        best = max((u for u in range(4) if row[u]), key=utilities[i].__getitem__)
        expected[i, best] += 1 - epsilon
    found = shares(actor, td)
    assert ((found == 0) == (expected == 0)).all()
    torch.testing.assert_close(found, expected, rtol=0.0, atol=4.5 * 0.5 / MANY**0.5)
    actor.greedy = True
    td["is_init"][:] = True
    greedy = shares(actor, td)
    assert ((greedy == 0) | (greedy == 1)).all()
    assert (expected[greedy == 1] > (epsilon * uniform)[greedy == 1]).all() or epsilon == 1.0


def test_utilities_that_are_not_finite_are_told() -> None:
    actor = small_q(Sizes().spec).actor(greedy=True)
    actor.agent.utilities.bias.data[0] = float("nan")
    with pytest.raises(DivergedError, match="critic diverged"):
        actor(observation(AVAILABLE))


def test_equal_seeds_draw_equally() -> None:
    algorithm = small_mipi(Sizes().spec)
    td = observation(AVAILABLE, envs=50)
    actions = [algorithm.actor(greedy=False, seed=seed)(td)[keys.ACTION].clone() for seed in (1, 1, 2)]
    assert torch.equal(actions[0], actions[1])
    assert not torch.equal(actions[0], actions[2])


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
    b = EpisodeBatch.of(episodes, env.entity_spec, truncation_is_terminal=True)
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
    b = EpisodeBatch.of(raw, s.spec, truncation_is_terminal=True)
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


class OwnAgent(Agent):
    """An agent of a kind that the actor has never heard of: features and a policy from the same numbers."""

    def __init__(self, n_features: int, n_actions: int) -> None:
        super().__init__(ActionKinds(n_actions), 4)
        self.trunk = Trunk(n_features + n_actions, 8, 2, 4)
        self.utilities = ActionHead(4, n_actions)
        self.own_policy = ActionHead(4, n_actions)

    @property
    def policy(self) -> torch.nn.Module:
        return self.own_policy


def test_an_agent_of_a_new_kind_acts_by_the_policy_that_it_names() -> None:
    torch.manual_seed(0)
    agent, td = OwnAgent(3, 4), observation(AVAILABLE, envs=2)
    for by_utilities, head in ((False, agent.own_policy), (True, agent.utilities)):
        actor = Actor(agent, greedy=True, by_utilities=by_utilities)
        scores = head(actor._perceive(td)).masked_fill(~td[keys.ACTION_MASK], -torch.inf)
        assert torch.equal(actor(td)[keys.ACTION], scores.argmax(dim=-1))


def test_an_agent_that_does_not_say_how_it_acts_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="policy"):
        Agent(ActionKinds(4), hidden=4)  # type: ignore[abstract]
