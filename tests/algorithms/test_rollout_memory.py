"""The networks give the same outputs for an episode that is cut into rollouts as for the whole episode."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ppo_worlds import ENTITY, rollouts_of, small_mappo
from script_world import LeavingWorld, ScriptWorld
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from worlds import PAUSES, Sizes, drive, random_batch, sizes

from mipi_pl import spec as keys
from mipi_pl.algorithms.batch import EpisodeBatch
from mipi_pl.algorithms.experience import advantages
from mipi_pl.algorithms.mappo import MAPPO
from mipi_pl.algorithms.rollout_memory import RolloutMemory, States
from mipi_pl.datamodules.on_policy import OnPolicyDataModule
from mipi_pl.losses.information import log_policy

PAID: dict[str, Any] = {"regularizer": "mutual_information", "alpha": 0.3}
LONG = Sizes(lengths=(7, 4), lifetimes=((9, 9, 3), (9, 5, 9)), absent=((), (4,)), truncated=(True, True), seed=3)


def found_by(algorithm: MAPPO, batch: TensorDictBase, states: States) -> tuple[EpisodeBatch, list[Tensor], States]:
    """What the networks say of a batch [L, ...], zeros where it means nothing, and their states after it."""
    b = EpisodeBatch.from_tensordict(batch, algorithm.spec, truncation_is_terminal=True)
    with torch.no_grad():
        log_pi, policy = algorithm._log_policy(b, b.visible, states)
        log_marginal, marginal = algorithm._marginal_from(b, b.decisions, states.get("marginal"))
        value, critic = algorithm._values(b, states)
    last = {"policy": policy, "marginal": marginal} | ({} if critic is None else {"critic": critic})
    deciding = b.deciding.unsqueeze(-1)
    return b, [torch.where(deciding, log_pi, 0.0), torch.where(deciding, log_marginal, 0.0), value], last


def assert_cuts_change_nothing(s: Sizes, steps: int, **networks: Any) -> None:
    algorithm = small_mappo(s.spec, **PAID, **networks).double()
    whole = random_batch(s)
    b, expected, _ = found_by(algorithm, whole, {})
    places = zip(b.steps.episode.tolist(), b.steps.step.tolist(), strict=True)
    row_of = {place: row for row, place in enumerate(places)}
    memory = RolloutMemory(s.spec.n_agents)
    for batch in rollouts_of(whole, steps, 2 + max(s.lengths) // steps):
        part, found, last = found_by(algorithm, batch, memory.before(batch))
        memory.keep(batch, last)
        sequence = part.steps.episode
        played_by = batch[keys.ENVIRONMENT][sequence].tolist()
        at = (batch[keys.FIRST_STEP][sequence] + part.steps.step).tolist()
        rows = torch.tensor([row_of[key] for key in zip(played_by, at, strict=True)])
        for name, one, other in zip(("policy", "marginal", "value"), found, expected, strict=True):
            chosen = slice(None) if name == "value" else part.played  # values at a cut as well
            torch.testing.assert_close(one[chosen], other[rows][chosen], msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("networks", [{}, {"recurrent": True, "network": ENTITY}], ids=["plain", "all options"])
def test_a_cut_changes_neither_probabilities_nor_values(networks: dict[str, Any], steps: int) -> None:
    for s in (LONG, PAUSES):
        assert_cuts_change_nothing(s, steps, **networks)


@settings(max_examples=5, deadline=None)
@given(sizes(max_steps=5), st.integers(1, 4))
@example(Sizes(), 2)
def test_a_cut_of_any_batch_changes_neither_probabilities_nor_values(s: Sizes, steps: int) -> None:
    assert_cuts_change_nothing(s, steps, recurrent=True)


def test_states_are_kept_of_all_slots_and_given_to_those_of_the_batch() -> None:
    (batch,) = rollouts_of(random_batch(LONG), 3, 1)
    memory = RolloutMemory(n_agents=5)
    assert memory.before(batch) == {}
    memory.keep(batch, {"policy": torch.ones(len(batch), 3, 2)})
    assert memory.states["policy"].shape == (2, 5, 2)
    assert (memory.states["policy"][:, :3] == 1).all()
    assert (memory.states["policy"][:, 3:] == 0).all()
    batch[keys.FIRST_STEP] = torch.tensor([0, 2])
    assert memory.before(batch)["policy"].tolist() == [[[0.0] * 2] * 3, [[1.0] * 2] * 3]


@pytest.mark.parametrize(("first_step", "kept"), [(4, 1.0), (0, 0.0)], ids=["same episode", "another episode"])
def test_states_of_slots_that_are_empty_for_a_rollout_are_kept_within_an_episode(first_step: int, kept: float) -> None:
    def rollout(n_agents: int, first_step: int) -> TensorDict:
        at = {keys.ENVIRONMENT: torch.arange(2), keys.FIRST_STEP: torch.tensor([first_step, 4])}
        return TensorDict({**at, keys.ACTION: torch.zeros(2, 3, n_agents, dtype=torch.int64)}, batch_size=2)

    memory = RolloutMemory(n_agents=3)
    memory.keep(rollout(3, first_step=0), {"policy": torch.ones(2, 3, 1)})
    memory.keep(rollout(1, first_step), {"policy": torch.full((2, 1, 1), 2.0)})
    found = memory.before(rollout(3, first_step=8))["policy"].squeeze(-1)
    assert found.tolist() == [[2.0, kept, kept], [2.0, 1.0, 1.0]]


def test_states_are_those_of_the_parameters_that_played_the_rollout_and_carry_no_gradient() -> None:
    algorithm = small_mappo(LONG.spec, recurrent=True, **PAID).double()
    first, second = rollouts_of(random_batch(LONG), 3, 2)
    _, _, expected = found_by(algorithm, first, {})
    drive(algorithm, [first])
    assert algorithm._memory.states.keys() == {"policy", "marginal", "critic"}
    for name, states in algorithm._memory.states.items():
        assert not states.requires_grad
        kept = states[:, : expected[name].shape[1]]
        torch.testing.assert_close(kept, expected[name], msg=name)  # each environment has one sequence here
    drive(algorithm, [second])


@pytest.mark.parametrize(
    "world",
    [partial(ScriptWorld, [[3, 1, 4], [2, 5], [6]]), partial(LeavingWorld, range(4, 8), [[12]] * 3)],
    ids=["always there", "away for a rollout"],
)
def test_the_learner_finds_the_probabilities_that_the_actions_were_drawn_with(world: Any) -> None:
    """Also in the later parts of an episode, after the networks have learned from the earlier ones."""
    module = OnPolicyDataModule(world, num_envs=3, rollout_steps=4)
    algorithm = small_mappo(module.env.entity_spec, network=ENTITY, marginal_teams="actual", **PAID)
    module.connect(algorithm.actor(greedy=False, seed=0))
    acted: list[Tensor] = []
    algorithm.agent.policy_logits.register_forward_hook(lambda _, __, logits: acted.append(logits.detach().clone()))
    for _ in range(4):
        acted.clear()
        batch = module.next_batch()
        logits = torch.stack(acted, dim=1).view(12, 2, 3)  # by environment and time, as the sequences stand
        b, (log_pi, _, _), _ = found_by(algorithm, batch, algorithm._memory.before(batch))
        expected = log_policy(logits[:, : b.action.shape[1]], b.available[b.played])
        chosen = b.deciding[b.played]
        torch.testing.assert_close(log_pi[b.played][chosen], expected[chosen])
        drive(algorithm, [batch])


def test_the_time_limit_is_counted_from_the_beginning_of_the_episode() -> None:
    """Truncated at step 7 of 7: an end without value. Truncated at step 4 of 7, by a fault: the battle was not over."""
    ended = []
    for batch in rollouts_of(random_batch(LONG), 3, 3):
        b = EpisodeBatch.from_tensordict(batch, LONG.spec, truncation_is_terminal=True)
        for row in b.played[b.terminal[b.played]].tolist():
            sequence = int(b.steps.episode[row])
            at = int(batch[keys.FIRST_STEP][sequence]) + int(b.steps.step[row])
            ended.append((int(batch[keys.ENVIRONMENT][sequence]), at))
        going_on = EpisodeBatch.from_tensordict(batch, LONG.spec, truncation_is_terminal=False)
        assert not going_on.terminal[going_on.played].any()
    assert ended == [(0, 6)]


def test_returns_go_on_with_the_value_at_a_cut_and_with_none_after_an_end() -> None:
    s = Sizes(lengths=(2,), lifetimes=((9,),), absent=((),), n_agents=1, truncated=(False,))
    (cut, end) = rollouts_of(random_batch(s), 1, 2)
    for batch, goes_on in ((cut, 1.0), (end, 0.0)):
        b = EpisodeBatch.from_tensordict(batch, s.spec, truncation_is_terminal=True)
        value = torch.tensor([3.0, 5.0], dtype=torch.float64)
        advantage, returns = advantages(b, b.reward, value, gamma=0.5, gae_lambda=0.9)
        assert float(returns[0]) == pytest.approx(float(b.reward[0]) + goes_on * 0.5 * 5.0)
        assert float(advantage[0]) == pytest.approx(float(returns[0]) - 3.0)
