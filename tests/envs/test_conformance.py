"""Each check of `mipi check-env` catches a world that breaks it, and names no other."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parallel_world import Crowd, crowd
from script_world import ScriptWorld
from torch import Tensor

from mipi_pl.cli import main
from mipi_pl.envs.composition import Composition
from mipi_pl.envs.conformance import Check, examine
from mipi_pl.envs.frame import Frame
from mipi_pl.envs.pettingzoo import ParallelWorld
from mipi_pl.envs.stepped import SteppedEnv, View
from mipi_pl.envs.trace import play
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.errors import UnavailableActionError

LENGTHS = [[4, 6, 3]] * 2


class Sound(ScriptWorld):
    """Teams of two; every episode terminates, or is truncated by the limit of six steps."""

    def __init__(self, num_envs: int, seed: int = 0) -> None:
        super().__init__(LENGTHS, num_envs, seed)

    def advance(self, action: Tensor, frame: Frame) -> None:
        super().advance(action, frame)
        over = frame.terminated | frame.truncated
        frame.truncated.copy_(self.step_ == 6)
        frame.terminated.copy_(over & ~frame.truncated)


def altered(at: Callable[[Any], Any], change: Callable[[Any, Frame], None], **methods: Any) -> type[Sound]:
    """A sound world whose frames are changed in steps (0: the first observation) for which `at` holds."""

    class Altered(Sound):
        def begin(self, rows: Tensor, frame: Frame) -> None:
            super().begin(rows, frame)
            if at(0):
                change(self, frame)

        def advance(self, action: Tensor, frame: Frame) -> None:
            super().advance(action, frame)
            if at(int(self.step_.max())):
                change(self, frame)

    for name, method in methods.items():
        setattr(Altered, name, method)
    return Altered


def field(name: str, value: Any, *index: Any) -> Callable[[Any, Frame], None]:
    def change(_: Any, frame: Frame) -> None:
        getattr(frame, name)[index or slice(None)] = value

    return change


def wide(_: Any, frame: Frame) -> None:
    frame.reward = frame.reward.double()


def fail(*_: Any) -> None:
    raise KeyError("unit 7")


def always(_: int) -> bool:
    return True


def second(step: int) -> bool:
    return step == 2


def unseen(_: Any, frame: Frame) -> None:
    frame.visible.zero_()
    frame.action_mask[:] = torch.tensor([True, False, False])


def blind_second(_: Any, frame: Frame) -> None:
    frame.visible[:, 1] = False
    frame.action_mask[:, 1] = torch.tensor([True, False, False])


def refused(self: Any, action: Tensor, frame: Frame) -> None:
    if (action == 2).any():
        raise UnavailableActionError("environment 0, agent 1: action 2 is not available")
    Sound.advance(self, action, frame)


def global_noise(_: Any, frame: Frame) -> None:
    frame.reward += float(np.random.rand())  # noqa: NPY002


def global_torch_noise(_: Any, frame: Frame) -> None:
    torch.rand(1)


def draw_from_global_generators() -> None:
    random.random()
    np.random.rand()  # noqa: NPY002
    torch.rand(1)


def global_states() -> tuple[Any, ...]:
    """Return the states of the generators; NumPy's has a block of numbers and the place of the next one in it."""
    _, block, place, *_ = np.random.get_state()  # noqa: NPY002
    return random.getstate(), (block.tobytes(), place), torch.random.get_rng_state().tolist()


def endless(self: Any, frame: Frame) -> None:
    frame.terminated.zero_()
    frame.truncated.zero_()


def forgetful(self: Any, memory: dict[str, Tensor]) -> None:
    Sound.remember(self, {**memory, "step": torch.zeros_like(memory["step"])})


def unable(self: Any, memory: dict[str, Tensor]) -> None:
    raise NotImplementedError("no way back")


BROKEN: dict[str, tuple[type[Sound], str, str]] = {
    "type": (altered(second, wide), "contract", "frame.reward must be torch.float32 of shape (2,), got torch.float64"),
    "exception": (altered(second, fail), "contract", "step 2: Altered.step raised KeyError: 'unit 7' (test_conform"),
    "reset": (altered(lambda t: t == 0, fail), "contract", "reset: Altered.reset raised KeyError: 'unit 7'"),
    "empty slot": (
        altered(second, field("entities", 1.0, 0, 3)),
        "contract",
        "environment 0, step 2: entities[3] must be 0 in a slot that is not present",
    ),
    "no action": (
        altered(second, field("action_mask", False, 1, 0)),
        "masks",
        "environment 1, step 2: agent 0 has no available action",
    ),
    "idle": (
        altered(lambda t: t > 2, field("action_mask", True)),
        "masks",
        "environment 0, step 3: agent 1 does not act and must have the first action only",
    ),
    "ghost": (
        altered(second, field("visible", True, 0, 0, 3)),
        "masks",
        "environment 0, step 2: agent 0 sees the empty slot 3",
    ),
    "refused": (altered(lambda _: False, fail, advance=refused), "masks", "the world refused an action that its mask"),
    "diagonal": (
        altered(always, unseen),
        "self-visibility",
        "environment 0: no agent sees itself in the first observa",
    ),
    "one blind": (
        altered(always, blind_second),
        "self-visibility",
        "environment 0: agent 1 is present and never sees itself (visible[1, 1]), so it never acts",
    ),
    "other team": (
        altered(always, field("composition", 5)),
        "compositions",
        "environment 0: composition 5, but there are 2",
    ),
    "changing team": (
        altered(lambda t: t > 2, field("composition", 1)),
        "compositions",
        "environment 0: the composition changes within an episode: [0, 1]",
    ),
    "NaN feature": (
        altered(second, field("entities", torch.nan, 1, 2, 0)),
        "NaN",
        "environment 1, step 2: the world returned entities[2, 0] = nan",
    ),
    "infinite reward": (
        altered(second, field("reward", torch.inf)),
        "NaN",
        "environment 0, step 2: the world returned the reward inf",
    ),
    "no limit": (
        altered(lambda t: t >= 6, endless),
        "episode limit",
        "environment 0: an episode goes on after step 6, its limit (spec.max_steps)",
    ),
    "cut short": (
        altered(second, field("truncated", True, 1)),
        "episode limit",
        "environment 1: an episode is truncated after 2 steps, before its limit of 6",
    ),
    "numpy": (altered(second, global_noise), "determinism", "with the same seed and actions: reward differs in step 2"),
    "torch": (
        altered(second, global_torch_noise),
        "determinism",
        "PyTorch's global generator, which learning uses too",
    ),
    "forgetful": (altered(lambda _: False, fail, remember=forgetful), "resume", "steps and restored: "),
    "unable": (altered(lambda _: False, fail, remember=unable), "resume", "raised NotImplementedError: no way back"),
}


def by_name(world: Any) -> dict[str, Check]:
    return {check.name: check for check in examine(world, seconds=np.inf, steps=40)}


def test_a_sound_world_passes_every_check() -> None:
    for make in (Sound, crowd):
        checks = by_name(make).values()
        assert [check for check in checks if check.passed is not True] == []
        assert all(check.detail and not check.advice for check in checks)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_world_fails_its_check(kind: str) -> None:
    world, name, message = BROKEN[kind]
    checks = by_name(world)
    assert checks[name].passed is False, checks
    assert message in checks[name].detail
    assert checks[name].advice
    # numpy's noise is no state that can be restored; a world that cannot be played is not judged further.
    allowed = {name, "resume"} if kind == "numpy" else {name}
    assert {check.name for check in checks.values() if check.passed is False} <= allowed


class Endless:
    """A game whose episodes go on far beyond what is played, and whose view a test breaks in step `at` (0: reset)."""

    def __init__(self, broken: Callable[[View], Any], at: int) -> None:
        self.broken, self.at = broken, at

    def reset(self, composition: int, seed: int) -> View:
        self.t = -1
        return self.step(np.zeros(2))

    def step(self, action: np.ndarray) -> Any:
        self.t += 1
        view = View(np.full((3, 3), self.t), np.ones(3, dtype=bool), action_mask=np.ones((2, 4)))
        return self.broken(view) if self.t == self.at else view


def with_field(name: str, value: Any) -> Callable[[View], View]:
    def change(view: View) -> View:
        setattr(view, name, value)
        return view

    return change


BROKEN_VIEWS: dict[str, tuple[Callable[[View], Any], str]] = {
    "shape": (with_field("entities", np.zeros((3, 4))), "a game must return entities of shape (3, 3), got (3, 4)"),
    "text": (with_field("reward", "much"), "a game must return reward as one number, got str 'much'"),
    "nothing": (lambda _: None, "a game must return a mipi_pl.envs.stepped.View, got NoneType"),
    "NaN mask": (with_field("action_mask", np.full((2, 4), np.nan)), "action_mask as True and False, got NaN"),
}


def assert_only_the_contract_fails(world: Any, at: int, message: str) -> None:
    checks = by_name(world)
    assert [name for name, check in checks.items() if check.passed is False] == ["contract"], checks
    assert checks["contract"].detail.startswith(f"step {at}: " if at else "reset: ")
    assert message in checks["contract"].detail


@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("kind", BROKEN_VIEWS)
def test_a_game_that_returns_something_else_than_a_view_breaks_the_contract(kind: str, at: int) -> None:
    broken, message = BROKEN_VIEWS[kind]

    def world(num_envs: int, seed: int) -> SteppedEnv:
        spec, teams = EntitySpec(2, 3, 3, 4, max_steps=5_000), [Composition((("agent", 2),))]
        return SteppedEnv(spec, teams, lambda: Endless(broken, at), num_envs, seed)

    assert_only_the_contract_fails(world, at, message)


@pytest.mark.parametrize("at", [0, 3])
def test_a_parallel_environment_with_other_features_than_declared_breaks_the_contract(at: int) -> None:
    def world(num_envs: int, seed: int) -> ParallelWorld:
        def observe(agent: str, observation: dict[str, Any]) -> list[float]:
            return [0.0] * (3 if observation["step"] == at else 2)

        class Clocked(Crowd):
            def observe(self, agent: str) -> dict[str, Any]:
                return {**super().observe(agent), "step": self.t}

        return crowd(num_envs=num_envs, seed=seed, make=Clocked, observe=observe, max_steps=5_000)

    assert_only_the_contract_fails(world, at, "as seen by 'agent_0') of shape (2,), got (3,)")


def test_a_parallel_environment_with_too_few_slots_breaks_the_contract() -> None:
    """Of three agents one dies in step 2 and two appear in step 3."""

    class Growing(Crowd):
        def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
            seen, *others = super().step(actions)
            if self.t == 3:
                self.agents = [*self.agents, "agent_9"]
                seen["agent_9"] = self.observe("agent_9")
            return seen, *others

    def world(num_envs: int, seed: int) -> ParallelWorld:
        return crowd([3], num_envs=num_envs, seed=seed, make=Growing, capacity=3, max_steps=5_000)

    assert_only_the_contract_fails(world, 3, "capacity=3 is too small for 4 at once")


def test_a_team_of_another_size_than_its_composition_is_found() -> None:
    class Fewer(Sound):
        def _observe(self, frame: Frame) -> None:
            super()._observe(frame)
            frame.present[:, 1] = frame.visible[:, 1] = frame.visible[:, :, 1] = False
            frame.entities[:, 1] = 0.0
            frame.action_mask[:, 1] = torch.tensor([True, False, False])

    check = by_name(Fewer)["compositions"]
    assert check.detail == "environment 0: composition '2 x' has 2 agents, and 1 are present"


def test_an_agent_that_appears_later_is_not_missed_in_an_episode_that_has_just_begun() -> None:
    class Later(Sound):
        def _observe(self, frame: Frame) -> None:
            super()._observe(frame)
            there = self.step_ >= 2
            frame.present[:, 1] = frame.visible[:, 1, 1] = there
            frame.visible[:, 0, 1] = there
            frame.visible[:, 1] = there.unsqueeze(-1) & frame.present
            frame.entities[~there, 1] = 0.0
            frame.action_mask[:, 1] = there.unsqueeze(-1) | torch.tensor([True, False, False])

    checks = examine(Later, seconds=np.inf, steps=5)  # an episode of 4 steps, and one step of the next
    assert [check for check in checks if not check.passed] == []


def test_a_world_that_cannot_be_made_again_fails_and_the_other_one_is_closed() -> None:
    made: list[Sound] = []

    def once(num_envs: int, seed: int) -> Sound:
        if seed == 1:
            raise OSError("no port is free")
        made.append(Sound(num_envs, seed))
        return made[-1]

    check = {check.name: check for check in examine(once, seconds=np.inf, steps=20)}["resume"]
    assert check.passed is False
    assert "no port is free" in check.detail
    assert [env.is_closed for env in made] == [True] * len(made)


def test_checking_leaves_the_global_generators_alone() -> None:
    class Drawing(Sound):
        """Draws when it is made, and in every step."""

        def __init__(self, num_envs: int, seed: int = 0) -> None:
            super().__init__(num_envs, seed)
            draw_from_global_generators()

        def advance(self, action: Tensor, frame: Frame) -> None:
            super().advance(action, frame)
            draw_from_global_generators()

    before = global_states()
    examine(Drawing)
    assert global_states() == before
    draw_from_global_generators()
    assert all(now != then for now, then in zip(global_states(), before, strict=True))  # a draw shows


def test_playing_ends_after_its_time() -> None:
    assert len(play(Sound, 0, seconds=0.0).steps) == 1
    assert {check.passed for check in examine(Sound, seconds=0.0)} == {True}


def test_a_slow_reset_does_not_keep_a_world_from_being_played() -> None:
    class Slow(Sound):
        def begin(self, rows: Tensor, frame: Frame) -> None:
            time.sleep(0.02)
            super().begin(rows, frame)

    assert len(play(Slow, 0, seconds=0.01).steps) >= 1
    assert {check.passed for check in examine(Slow, seconds=0.01)} == {True}


def test_a_world_that_was_not_checked_has_not_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    unchecked = [Check("contract", True, ""), Check("masks", None, "not checked")]
    monkeypatch.setattr("mipi_pl.envs.conformance.examine", lambda *_: unchecked)
    assert main(["check-env", "experiment=matrix_game"]) == 1


@pytest.mark.parametrize("env", ["matrix_game", "sz", "resource_collection"])
def test_the_compiled_worlds_keep_the_contract(env: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["experiment=matrix_game"] if env == "matrix_game" else [f"env={env}"]
    assert main(["check-env", *more]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * 8


def test_the_command_says_what_is_wrong_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys.modules["script_world"], "Blind", BROKEN["diagonal"][0], raising=False)
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "blind.yaml").write_text("_target_: script_world.Blind\n_partial_: true\n", encoding="utf-8")
    words = ["--config-dir", str(tmp_path), "env=blind", "held_out.team_sizes=[]"]
    assert main(["check-env", *words]) == 1
    told = capsys.readouterr()
    assert told.err == "mipi: blind fails 1 of 8 checks: self-visibility\n"
    assert "WRONG  self-visibility" in told.out
    assert "-> set visible[i, i] for each agent i that acts" in told.out
    # Training in it does not end in silence, either.
    assert main(["train", *words, "debug=tiny", f"output_dir={tmp_path}"]) == 1
    told = capsys.readouterr()
    assert "no agent sees itself, so none would ever act or learn; visible[i, i] must be True" in told.err
    assert "Traceback" not in told.err
    assert main(["check-env", "env=nothing"]) == 2
