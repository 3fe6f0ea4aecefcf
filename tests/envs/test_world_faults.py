"""Faults of a world are named by environment, step and field, and cost only the episode they happen in."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from script_world import ScriptWorld
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.envs import faults
from mipi_pl.envs.composition import Composition
from mipi_pl.envs.frame import Frame
from mipi_pl.envs.stepped import SteppedEnv, View
from mipi_pl.evaluation.rollout import play
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.errors import WorldFaultError

SPEC = EntitySpec(n_agents=2, n_entities=3, n_features=2, n_actions=3, max_steps=6)


class Breaking:
    """A game of four steps that breaks its view in step `at` (0 is the first observation) of its first episode."""

    def __init__(self, broken: Callable[[View], Any], at: int) -> None:
        self.broken, self.at, self.episode = broken, at, 0

    def reset(self, composition: int, seed: int) -> View:
        self.episode, self.t = self.episode + 1, 0
        return self.view()

    def step(self, action: np.ndarray) -> View:
        self.t += 1
        return self.view()

    def view(self) -> Any:
        entities = np.full((3, 2), self.t, dtype=np.float32)
        view = View(entities, np.ones(3, dtype=bool), reward=1.0, terminated=self.t == 4)
        return self.broken(view) if (self.episode, self.t) == (1, self.at) else view


def changed(**fields: Any) -> Callable[[View], View]:
    def change(view: View) -> View:
        for name, value in fields.items():
            setattr(view, name, value(view) if callable(value) else value)
        return view

    return change


def with_nan(view: View) -> np.ndarray:
    view.entities[1, 0] = np.nan
    return view.entities


def fail(_: View) -> View:
    raise ZeroDivisionError("division by zero\nin a unit")


BROKEN: dict[str, tuple[Callable[[View], Any], str]] = {
    "NaN feature": (changed(entities=with_nan), "entities[1, 0] must be finite, got nan"),
    "infinite reward": (changed(reward=np.inf), "reward must be finite in float32, got inf"),
    "reward beyond float32": (changed(reward=1e300), "reward must be finite in float32, got inf"),
    "NaN reward": (changed(reward=float("nan")), "reward must be finite in float32, got nan"),
    "shape": (changed(entities=np.zeros((3, 5))), "a game must return entities of shape (3, 2), got (3, 5)"),
    "list of other length": (changed(present=[True]), "a game must return present of shape (3,), got (1,)"),
    "type": (changed(entities=np.full((3, 2), "x")), "a game must return entities as numbers, got <U1 of shape (3, 2)"),
    "complex": (changed(entities=np.ones((3, 2)) * 1j), "entities as numbers, got complex128 of shape (3, 2)"),
    "NaN mask": (changed(present=np.array([1.0, np.nan, 1.0])), "must return present as True and False, got NaN"),
    "rewards per agent": (changed(reward=np.ones(2)), "must return reward as one number, got float64 of shape (2,)"),
    "no reward": (changed(reward=None), "must return reward as one number, got NoneType None"),
    "flag per agent": (changed(truncated=[False, True]), "must return truncated as one number, got list [False, True]"),
    "no action": (changed(action_mask=np.zeros((2, 3))), "agent 0 has no available action"),
    "text": (changed(reward="1.0"), "must return reward as one number, got str '1.0'"),
    "ragged": (changed(entities=[[1.0], [2.0, 3.0]]), "entities as numbers, got list [[1.0], [2.0, 3.0]] ("),
    "tuple": (lambda view: (view.entities, 0.0, False, {}), "must return a mipi_pl.envs.stepped.View, got tuple"),
    "exception": (fail, "Breaking.step raised ZeroDivisionError: division by zero in a unit (test_world_faults.py,"),
}  # fmt: skip


def stepped(broken: Callable[[View], Any], at: int, tolerant: bool) -> SteppedEnv:
    """Three environments, of which the second breaks."""
    games = iter([Breaking(broken, -1), Breaking(broken, at), Breaking(broken, -1)])
    env = SteppedEnv(SPEC, [Composition((("agent", 2),))], lambda: next(games), num_envs=3)
    env.tolerant = tolerant
    return env


def steps_of(env: Any, count: int) -> list[Any]:
    td, steps = env.reset(), []
    for _ in range(count):
        step, td = env.step_and_maybe_reset(env.rand_action(td))
        steps.append(step)
    return steps


@pytest.mark.parametrize("kind", BROKEN)
def test_a_fault_in_a_step_costs_its_episode_and_nothing_else(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    broken, message = BROKEN[kind]
    env = stepped(broken, 2, tolerant=True)
    steps = steps_of(env, 7)
    for t, step in enumerate(steps, start=1):
        after = step["next"]
        cut = t == 2
        assert after[keys.REWARD].isnan().flatten().tolist() == [False, cut, False], t
        assert after[keys.TRUNCATED].flatten().tolist() == [False, cut, False], t
        assert after[keys.TERMINATED].flatten().tolist() == [t == 4, t == 6, t == 4], t
        assert after[keys.ENTITIES].isfinite().all()
        assert (after[keys.ENTITIES][0] == (t if t <= 4 else t - 4)).all()
    assert (steps[1]["next", keys.ENTITIES][1] == 1).all(), "the last observation stays"
    assert env.get_extra_state()["frame"]["reward"].isfinite().all()
    stderr = capfd.readouterr().err
    assert "mipi: the world failed in environment 1, step 2: " in stderr
    assert message in stderr
    assert stderr.count("the episode is thrown away\n") == stderr.count("\n") == 1


@pytest.mark.parametrize("kind", [kind for kind in BROKEN if kind != "exception"])
def test_without_tolerance_a_fault_is_an_error_that_names_it(kind: str) -> None:
    broken, message = BROKEN[kind]
    with pytest.raises(WorldFaultError, match=rf"in environment 1, step 2: .*{re.escape(message)}"):
        steps_of(stepped(broken, 2, tolerant=False), 3)


def test_used_directly_an_exception_of_a_game_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        steps_of(stepped(fail, 2, tolerant=False), 3)


@pytest.mark.parametrize(("at", "tolerant"), [(0, False), (2, False), (2, True)])
def test_without_checks_an_episode_that_is_given_up_is_an_error(at: int, tolerant: bool) -> None:
    env = stepped(BROKEN["shape"][0], at, tolerant)
    env.checked = False
    with pytest.raises(WorldFaultError, match=r"^the world failed in environment 1: a game must return entities of"):
        steps_of(env, 3)


def unseen(view: View) -> np.ndarray:
    return ~np.eye(2, 3, dtype=bool)


class Forgetful(ScriptWorld):
    """Does not write which slots are filled, in the frame of step `at`."""

    at = 0

    def begin(self, rows: Tensor, frame: Frame) -> None:
        super().begin(rows, frame)
        if self.at == 0:
            frame.present[:, 1:] = False

    def advance(self, action: Tensor, frame: Frame) -> None:
        super().advance(action, frame)
        if self.at == 1:
            frame.present[:, 1:] = False


@pytest.mark.parametrize(("at", "when"), [(0, "the first observation"), (1, "step 1")])
def test_an_agent_that_sees_an_empty_slot_is_a_fault(at: int, when: str) -> None:
    env = Forgetful([[4, 4]] * 2, num_envs=2)
    env.at = at
    message = rf"environment 0, {when}: agent \d sees slot \d, which is empty; present must be True for every entity"
    with pytest.raises(WorldFaultError, match=message):
        steps_of(env, 2)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (changed(visible=unseen), "no agent sees itself, so none would ever act or learn; visible[i, i] must be True"),
        (fail, "Breaking.reset raised ZeroDivisionError"),
        (changed(entities=with_nan), "entities[1, 0] must be finite, got nan"),
        (changed(terminated=True, won=True), "the episode is over in its first observation"),
        (changed(truncated=True), "the episode is over in its first observation"),
    ],
)
def test_an_episode_that_cannot_begin_is_replaced_by_the_next(
    broken: Callable[[View], Any], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    env = stepped(broken, 0, tolerant=True)
    td = env.reset()
    assert td[keys.ENTITIES].isfinite().all()
    assert td[keys.IS_INIT].all()
    assert keys.acting(td[keys.VISIBLE]).all()
    assert not (td[keys.DONE] | td[keys.WON]).any()
    assert env._episodes.tolist() == [1, 2, 1]
    assert f"the world failed in environment 1, the first observation: {message}" in capfd.readouterr().err


def test_a_world_that_never_begins_ends_with_its_reason() -> None:
    always = SteppedEnv(SPEC, [Composition((("agent", 2),))], lambda: Always(), num_envs=2)
    always.tolerant = True
    with pytest.raises(WorldFaultError, match=r"in environment 0.*\(and 1 more environments.*3 attempts to begin"):
        always.reset()


class Always(Breaking):
    def __init__(self) -> None:
        super().__init__(lambda view: view, -1)

    def reset(self, composition: int, seed: int) -> View:
        raise OSError("no such simulator")


def test_numbers_of_any_type_are_converted() -> None:
    broken = changed(reward=np.array([[2.5]]), terminated=np.bool_(False), truncated=torch.tensor(0), won=np.array([0]))
    after = steps_of(stepped(broken, 2, tolerant=False), 2)[1]["next"]
    assert after[keys.REWARD].flatten().tolist() == [1.0, 2.5, 1.0]
    assert not after[keys.DONE].any()


@pytest.mark.parametrize(
    "reward",
    [
        np.float16(2.5),
        np.longdouble(2.5),
        np.array(2.5),
        [2.5],
        np.array([2.5], dtype=object),
        torch.tensor(2.5, dtype=torch.bfloat16),
        torch.tensor([2.5], requires_grad=True),
        Decimal("2.5"),
        Fraction(5, 2),
    ],
)
def test_a_reward_of_any_numeric_type_is_that_number(reward: Any) -> None:
    assert faults.number_of("reward", reward) == 2.5


@pytest.mark.parametrize("flag", [np.True_, 1, 1.0, np.array([True]), torch.tensor(True), np.uint8(1)])
def test_a_flag_of_any_numeric_type_is_true_or_false(flag: Any) -> None:
    assert faults.flag_of("terminated", flag) is True


def test_only_the_first_faults_are_printed(capfd: pytest.CaptureFixture[str]) -> None:
    messages = faults.Messages()
    for number in range(20):
        messages.say(f"fault {number}")
    stderr = capfd.readouterr().err
    assert stderr.count("thrown away") == 5
    assert stderr.count("further faults of this world are not printed; episodes that end with one are counted") == 1


# ------------------------------------------------------------------ batched worlds


class OverAtOnce(ScriptWorld):
    """A batched world whose first episode is over in its first observation; `begin` clears no flag."""

    def begin(self, rows: Tensor, frame: Frame) -> None:
        super().begin(rows, frame)
        frame.terminated |= rows & (self.episode == 0)


def test_a_batched_world_whose_episode_is_over_at_once_begins_another() -> None:
    env = OverAtOnce([[6]] * 2, num_envs=2)
    with pytest.raises(WorldFaultError, match="environment 0, the first observation: the episode is over in its first"):
        env.reset()
    env = OverAtOnce([[6]] * 2, num_envs=2)
    env.tolerant = True
    assert not env.reset()[keys.DONE].any()
    assert env.episode.tolist() == [1, 1]


class BreakingBatch(ScriptWorld):
    """A batched world that breaks its frame in a step."""

    def __init__(self, broken: Callable[[Frame], None], at: int) -> None:
        self.broken, self.at, self.calls = broken, at, 0
        super().__init__([[6]] * 3, num_envs=3)

    def advance(self, action: Tensor, frame: Frame) -> None:
        self.calls += 1
        super().advance(action, frame)
        if self.calls == self.at:
            self.broken(frame)


def nan_in_the_last_row(frame: Frame) -> None:
    frame.entities[2, 3, 1] = torch.nan


def other_shape(frame: Frame) -> None:
    frame.reward = frame.reward.unsqueeze(-1)


def raise_error(_: Frame) -> None:
    raise KeyError("unit 7")


@pytest.mark.parametrize(
    ("broken", "rows", "message"),
    [
        (nan_in_the_last_row, [False, False, True], "environment 2, step 3: entities[3, 1] must be finite, got nan"),
        (other_shape, [True] * 3, "reward must be torch.float32 of shape (3,), got torch.float32 of shape (3, 1)"),
        (raise_error, [True] * 3, "BreakingBatch.advance raised KeyError: 'unit 7' (test_world_faults.py, line"),
    ],
)  # fmt: skip
def test_a_batched_world_loses_the_episodes_of_the_broken_rows(
    broken: Callable[[Frame], None], rows: list[bool], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    env = BreakingBatch(broken, at=3)
    env.tolerant = True
    steps = steps_of(env, 5)
    for t, step in enumerate(steps, start=1):
        expected = rows if t == 3 else [False] * 3
        assert step["next", keys.REWARD].isnan().flatten().tolist() == expected
        assert step["next", keys.TRUNCATED].flatten().tolist() == expected
        assert step["next", keys.ENTITIES].isfinite().all()
    assert message in capfd.readouterr().err
    assert steps[3][keys.IS_INIT].flatten().tolist() == rows
    if broken is not raise_error:
        with pytest.raises(WorldFaultError, match=re.escape(message)):
            steps_of(BreakingBatch(broken, at=3), 5)


class BreakingStart(ScriptWorld):
    """A batched world that replaces a tensor of its frame in one of its calls of `begin`, or in all of them."""

    def __init__(self, field: str, at: int | None) -> None:
        self.field, self.at, self.calls = field, at, 0
        super().__init__([[2]] * 3, num_envs=3)
        self.tolerant = True

    def begin(self, rows: Tensor, frame: Frame) -> None:
        super().begin(rows, frame)
        self.calls += 1
        if self.at in (None, self.calls):
            setattr(frame, self.field, getattr(frame, self.field)[:1])


@pytest.mark.parametrize("field", ["terminated", "entities"])
def test_a_batched_world_that_replaced_a_tensor_begins_the_next_episode(
    field: str, capfd: pytest.CaptureFixture[str]
) -> None:
    env = BreakingStart(field, at=2)
    steps = steps_of(env, 5)
    assert env.calls == 4, "the first reset, that after the second step, its repetition, and one after the fourth"
    assert all(step["next", keys.ENTITIES].isfinite().all() for step in steps)
    assert capfd.readouterr().err.count(f"{field} must be") == 1
    with pytest.raises(WorldFaultError, match=f"{field} must be .*; 3 attempts to begin an episode have failed"):
        BreakingStart(field, at=None).reset()


def test_an_evaluation_counts_the_episode_as_cut_short_with_its_rewards_so_far() -> None:
    env = stepped(BROKEN["NaN reward"][0], 3, tolerant=True)
    played = play(env, env.rand_action)
    assert played.cut_short.tolist() == [False, True, False]
    assert played.length.tolist() == [4, 3, 4]
    assert played.return_.tolist() == [4.0, 2.0, 4.0]


def endless(num_envs: int = 2) -> ScriptWorld:
    """A batched world whose second environment never ends an episode, beyond the limit of 4 steps."""
    return ScriptWorld([[4], [1000]][-num_envs:], num_envs, max_steps=4)


def test_an_episode_beyond_its_limit_is_a_fault_of_its_environment(capfd: pytest.CaptureFixture[str]) -> None:
    message = "environment 1, step 4: the episode goes on after 4 steps, max_steps of its spec"
    with pytest.raises(WorldFaultError, match=message):
        steps_of(endless(), 4)
    env = endless()
    env.tolerant = True
    played = play(env, env.rand_action, episodes_per_env=2)
    assert played.length.tolist() == [4] * 4
    assert played.cut_short.tolist() == [False, True] * 2
    assert message in capfd.readouterr().err


@pytest.mark.parametrize("older", [False, True])
def test_a_restored_world_knows_how_long_its_episodes_are(older: bool) -> None:
    env, again = endless(1), endless(1)
    env.tolerant = again.tolerant = True
    steps_of(env, 3)
    td = steps_of(again, 2)[-1]["next"]
    state = env.get_extra_state()
    if older:
        del state["counts"]
    again.set_extra_state(state)
    truncated = []
    for _ in range(4):
        td = again.step(again.rand_action(td))["next"]
        truncated.append(bool(td[keys.TRUNCATED]))
    assert truncated.index(True) == (3 if older else 0), "an older state does not say it"
