"""What fails while scripted policies play is reported as what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from script_world import ScriptWorld
from tensordict import TensorDictBase

from mipi_pl import distributed
from mipi_pl.envs.frame import Frame
from mipi_pl.evaluation.worlds import Worlds, worlds_of
from mipi_pl.run.playing import play_scripted
from mipi_pl.utils.errors import UserError, WorldFaultError, is_reported


class Scripted(ScriptWorld):
    """A world with a scripted policy, which plays as `policy` does."""

    scripted = ("any",)
    policy: Callable[[TensorDictBase], TensorDictBase] | None = None

    def __init__(self, num_envs: int = 1, seed: int = 0) -> None:
        super().__init__([[2]] * num_envs, num_envs=num_envs, seed=seed)

    def make_scripted(self, name: str, seed: int) -> Any:
        return type(self).policy or self.rand_action


class Unplayable(Scripted):
    """Its episodes cannot begin."""

    def begin(self, rows: Any, frame: Frame) -> None:
        super().begin(rows, frame)
        frame.entities = frame.entities[:1]


def bug(td: TensorDictBase) -> TensorDictBase:
    raise ValueError("a bug of the script")


def worlds(make_env: Any) -> Worlds:
    return Worlds(make_env, worlds_of([], {}), 2, 0)


def test_scripted_policies_play_in_each_world() -> None:
    assert list(play_scripted(None, worlds(Scripted))) == ["any"]
    assert play_scripted([], worlds(Scripted)) == {}


def test_an_unknown_name_is_a_mistake_that_one_process_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "held_out.baselines: scripted policies of this world are any, got 'other'"
    with pytest.raises(UserError, match=message) as caught:
        play_scripted(["other"], worlds(Scripted))
    assert not is_reported(caught.value)
    monkeypatch.setattr(distributed, "size", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "gather", lambda own: [own, own])
    with pytest.raises(UserError, match=message) as caught:
        play_scripted(["other"], worlds(Scripted))
    assert is_reported(caught.value)


def test_a_failure_of_the_world_or_of_the_script_is_no_mistake_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorldFaultError, match=r"^the world failed in environment 0"):
        play_scripted(None, worlds(Unplayable))
    monkeypatch.setattr(Scripted, "policy", staticmethod(bug))
    with pytest.raises(ValueError, match=r"^a bug of the script$"):
        play_scripted(None, worlds(Scripted))
