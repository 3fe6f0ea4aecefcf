"""How an actor chooses: draws, exploration, greedy actions, and agents of any kind."""

from __future__ import annotations

import pytest
import torch
from acting import AVAILABLE, observation
from tensordict import TensorDict
from worlds import Sizes, small_mipi, small_q

from mipi_pl import spec as keys
from mipi_pl.actor import Actor
from mipi_pl.models.agent import Agent
from mipi_pl.models.targets import ActionHead, ActionKinds
from mipi_pl.models.trunk import Trunk
from mipi_pl.utils.errors import DivergedError


def shares(actor: Actor, td: TensorDict) -> torch.Tensor:
    """How often each agent chooses each action, [A, U]."""
    actions = actor(td)[keys.ACTION]
    return torch.nn.functional.one_hot(actions, td[keys.ACTION_MASK].shape[-1]).double().mean(dim=0)


MANY = 20_000


def policy_of(actor: Actor, td: TensorDict) -> torch.Tensor:
    """pi of the first observation [A, U], by hand."""
    logits = actor.agent.policy_logits(actor._perceive(td))[0]
    powers = logits.detach().exp() * td[keys.ACTION_MASK][0]
    return powers / powers.sum(dim=-1, keepdim=True)


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


class OwnAgent(Agent):
    """An agent of a kind that the actor has never heard of, with or without a policy."""

    def __init__(self, n_features: int, n_kinds: int, has_policy: bool) -> None:
        super().__init__(ActionKinds(n_kinds), 4)
        self.trunk = Trunk(n_features + n_kinds, 8, 2, 4)
        self.utilities = ActionHead(4, n_kinds)
        if has_policy:
            self.policy_logits = ActionHead(4, n_kinds)


@pytest.mark.parametrize("has_policy", [True, False])
def test_an_agent_of_a_new_kind_acts_by_its_policy_or_else_by_its_utilities(has_policy: bool) -> None:
    torch.manual_seed(0)
    agent, td = OwnAgent(3, 4, has_policy), observation(AVAILABLE, envs=2)
    assert ("policy_logits.weight" in agent.state_dict()) == has_policy
    for by_utilities, head in ((False, agent.policy_logits or agent.utilities), (True, agent.utilities)):
        actor = Actor(agent, greedy=True, by_utilities=by_utilities)
        scores = head(actor._perceive(td)).masked_fill(~td[keys.ACTION_MASK], -torch.inf)
        assert torch.equal(actor(td)[keys.ACTION], scores.argmax(dim=-1))


@pytest.mark.parametrize("greedy", [True, False])
def test_a_policy_that_is_not_finite_is_told(greedy: bool) -> None:
    actor = small_mipi(Sizes().spec).actor(greedy=greedy)
    actor.agent.policy_logits.bias.data[0] = float("nan")
    with pytest.raises(DivergedError, match="policy diverged"):
        actor(observation([[True] * 4], envs=2))


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0])
def test_an_agent_without_an_available_action_does_not_stop_the_others(epsilon: float) -> None:
    """A dead agent in an observation of the user's own, whose mask may be empty."""
    actor = small_mipi(Sizes().spec).actor(greedy=False)
    actor.epsilon = epsilon
    td = observation([[True, False, False, False], [False] * 4], envs=2)
    assert (actor(td)[keys.ACTION][:, 0] == 0).all()


def test_an_agent_that_cannot_act_remembers_the_first_action() -> None:
    actor = small_mipi(Sizes().spec).actor(greedy=False)
    td = observation([[True] * 4, [False] * 4], envs=50)
    assert (actor(td)[keys.ACTION][:, 1] == 0).all()
    assert actor._last_action is not None
    assert (actor._last_action[:, 1] == 0).all()
    assert (actor._last_action[:, 0] > 0).any()
