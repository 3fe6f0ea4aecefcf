"""Collection during an update: the same data as sequential collection with the older policy, without data races."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from script_data import data
from script_world import ScriptWorld
from tensordict import TensorDictBase
from worlds import small_mipi

from mipi_pl.algorithms.mipi import MIPI
from mipi_pl.datamodules.background import Background
from mipi_pl.datamodules.journal import EpisodeJournal
from mipi_pl.datamodules.replay import ReplayDataModule
from mipi_pl.utils.errors import FailedError, UserError


def pair(**options: Any) -> tuple[ReplayDataModule, MIPI]:
    """A datamodule and the learner whose policy it plays."""
    module = data(**options)
    algorithm = small_mipi(module.env.entity_spec)
    module.connect(algorithm.actor(greedy=False, seed=0))
    return module, algorithm


def learn(algorithm: MIPI, number: int) -> None:
    """Stands for an update: the policy prefers another action after each."""
    with torch.no_grad():
        algorithm.agent.policy_logits.bias.zero_()
        algorithm.agent.policy_logits.bias[number % 3] = 30.0


def same(one: TensorDictBase, two: TensorDictBase) -> bool:
    keys = set(one.keys(True, True))
    return keys == set(two.keys(True, True)) and all(torch.equal(one[key], two[key]) for key in keys)


OPTIONS: dict[str, Any] = {"updates_per_episode": 0.4, "epsilon_start": 0.0, "epsilon_end": 0.0}


def test_it_plays_what_the_policy_of_one_update_before_would_have_played() -> None:
    ahead, fast = pair(overlap=True, **OPTIONS)
    twin, slow = pair(**OPTIONS)
    learn(fast, 0)
    learn(slow, 0)
    for number in range(1, 13):
        batch = ahead.next_batch()
        assert same(batch, twin.next_batch())
        learn(fast, number)  # while the background plays
        # The twin collects for the next batch before it learns.
        while twin.batches + 1 > (twin.episodes - twin.warmup_episodes) * twin.updates_per_episode:
            twin.collect()
        learn(slow, number)
    ahead.settle()
    assert (ahead.frames, ahead.episodes) == (twin.frames, twin.episodes)
    ahead.teardown("fit")


def test_no_counter_moves_during_an_update_although_steps_are_played() -> None:
    module, _ = pair(overlap=True, **OPTIONS)
    played = 0
    for _ in range(5):
        module.next_batch()
        before = (module.frames, module.episodes, module.epsilon, len(module._buffer))
        assert module._background is not None
        work = module._background._work
        if work is not None:
            assert work.result()
            played += 1
        assert (module.frames, module.episodes, module.epsilon, len(module._buffer)) == before
    assert played > 0
    module.teardown("fit")


@pytest.mark.parametrize("batches", [1, 6, 17])
def test_it_goes_on_where_another_one_stood(batches: int, tmp_path: Path) -> None:
    one, learner = pair(overlap=True, capacity=13, **OPTIONS)
    two, other = pair(overlap=True, capacity=13, **OPTIONS)
    for module in (one, two):
        module._journal = EpisodeJournal(tmp_path / "replay", capacity=13)
    for number in range(batches):
        one.next_batch()
        learn(learner, number)
    one.write_journal()  # as a checkpoint: in the middle of what is collected beside the last update
    other.load_state_dict(learner.state_dict())
    torch.save(one.state_dict(), tmp_path / "state.pt")
    two.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for number in range(8):
        assert same(one.next_batch(), two.next_batch())
        learn(learner, number)
        learn(other, number)
    for module in (one, two):
        module.teardown("fit")


def test_an_error_that_ends_the_world_reaches_the_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    module, _ = pair(overlap=True, **OPTIONS)
    module.next_batch()
    module.settle()
    monkeypatch.setattr(ScriptWorld, "advance", _broken)
    while not module._background or not module._background._work:
        module.next_batch()
    with pytest.raises(FailedError, match="the world broke in thread collection"):
        module.next_batch()
    module.teardown("fit")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("collection")]


def _broken(*_: Any) -> None:
    raise FailedError(f"the world broke in thread {threading.current_thread().name}")


def test_threads_of_numba_that_are_not_safe_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.threading_layer", lambda: "workqueue")
    work: Callable[[], int] = int
    with pytest.raises(UserError, match=r"workqueue.*docs/collection\.md"):
        Background[int]().start(work)
