"""Environments in other processes: equal steps, higher speed for slow worlds, and a clear error if a worker dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ppo_worlds import small_mappo
from slow_world import SlowWorld
from worlds import small_mipi

from mipi_pl import spec as keys
from mipi_pl.actor import Actor
from mipi_pl.algorithms.mappo import MAPPO
from mipi_pl.algorithms.mipi import MIPI
from mipi_pl.datamodules import workers
from mipi_pl.datamodules.journal import EpisodeJournal
from mipi_pl.datamodules.on_policy import OnPolicyDataModule
from mipi_pl.datamodules.replay import ReplayDataModule
from mipi_pl.datamodules.rollouts import RolloutCutter
from mipi_pl.datamodules.sources import InlineSource
from mipi_pl.datamodules.workers import ProcessSource, RaySource, WorkerEnv, WorkerPolicy
from mipi_pl.utils.errors import DivergedError, WorkerError

ENVS, STEPS, WORKERS, SEED = 4, 6, 2, 3


def inline_twins(algorithm: MIPI | MAPPO) -> list[InlineSource]:
    """What each worker should do, in this process."""
    seeds = np.random.SeedSequence([SEED, 0]).generate_state(2 * WORKERS).tolist()
    share = ENVS // WORKERS
    return [
        InlineSource(
            SlowWorld(share, seeds[i], step_s=0.0), Actor(algorithm.agent, greedy=False, seed=seeds[WORKERS + i]), STEPS
        )
        for i in range(WORKERS)
    ]


def fastest(one: Any, two: Any) -> float:
    """Time of the second over that of the first: the least of a few, taken in turns, as other load comes and goes."""
    seconds: list[list[float]] = [[], []]
    for _ in range(30):  # until other load leaves both alone once
        for collect, measured in zip((one, two), seconds, strict=True):
            start_s = time.monotonic()
            collect(0.5)
            measured.append(time.monotonic() - start_s)
        ratio = min(seconds[1]) / min(seconds[0])
        if ratio < 0.7:
            break
    return ratio


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ProcessSource, RaySource])
def test_workers_play_what_this_process_would_have_played_in_less_time_until_one_dies(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind is RaySource:
        pytest.importorskip("ray", reason="Ray is optional: pip install 'mipi-pl[ray]'")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # actors import the world by its name
    torch.manual_seed(0)
    others = set(multiprocessing.active_children())
    world = SlowWorld(ENVS)
    algorithm = small_mipi(world.entity_spec)
    source = kind(SlowWorld, ENVS, algorithm.actor(greedy=False), STEPS, WORKERS, SEED, lambda: 0)
    try:
        twins = inline_twins(algorithm)
        for number in range(3):
            source.refresh()
            expected = torch.cat([twin.next(0.5).clone() for twin in twins])
            found = source.next(0.5)
            assert found.batch_size == (ENVS, STEPS)
            for key in expected.keys(True, True):
                assert torch.equal(found[key], expected[key]), key
            with torch.no_grad():  # an update, after which other actions are played
                algorithm.agent.policy_logits.bias[number] += 30.0
        alone = InlineSource(world, algorithm.actor(greedy=False), STEPS)
        faster = fastest(alone.next, source.next)
        print(f"two workers: {faster:.2f} of the time of one process")
        assert faster < 0.8
        if kind is ProcessSource:
            worker, *_ = set(multiprocessing.active_children()) - others
            os.kill(worker.pid or 0, signal.SIGKILL)
            with pytest.raises(WorkerError, match=r"worker process died .worker .: exit code -9"):
                source.next(0.5)
    finally:
        source.close()
    assert set(multiprocessing.active_children()) <= others


@pytest.mark.slow
def test_rollouts_of_workers_are_played_by_the_present_policy_and_a_resumed_run_begins_new_episodes() -> None:
    torch.manual_seed(0)
    make_env = partial(SlowWorld, step_s=0.0)
    options: dict[str, Any] = {"rollout_steps": STEPS, "collector": "processes", "workers": WORKERS}
    module = OnPolicyDataModule(make_env, ENVS, SEED, **options)
    algorithm = small_mappo(module.env.entity_spec)
    module.connect(algorithm.actor(greedy=False), SEED)
    twins, cutter = inline_twins(algorithm), RolloutCutter(ENVS, module.env.entity_spec)
    try:
        for number in range(4):
            expected, _ = cutter.cut(torch.cat([twin.next(0.0).clone() for twin in twins]))
            found = module.next_batch()
            assert set(found.keys(True, True)) == set(expected.keys(True, True))
            for key in expected.keys(True, True):
                assert torch.equal(found[key], expected[key]), key
            with torch.no_grad():  # an update, after which other actions are played
                algorithm.agent.policy_logits.bias[number % 3] += 30.0
        state = module.state_dict()
    finally:
        module.teardown("fit")
    assert not module.exact_resume
    assert found[keys.FIRST_STEP].max() > 0, "an episode goes on"
    resumed = OnPolicyDataModule(make_env, ENVS, SEED, **options)
    resumed.connect(algorithm.actor(greedy=False), SEED)
    try:
        resumed.load_state_dict(state)
        assert resumed.next_batch()[keys.FIRST_STEP].max() == 0
        assert resumed.frames == 5 * ENVS * STEPS
    finally:
        resumed.teardown("fit")


def test_a_policy_that_diverges_in_a_worker_is_no_dead_worker() -> None:
    options: dict[str, Any] = {"rollout_steps": STEPS, "collector": "processes", "workers": 1}
    module = OnPolicyDataModule(partial(SlowWorld, step_s=0.0), 1, SEED, **options)
    algorithm = small_mappo(module.env.entity_spec)
    module.connect(algorithm.actor(greedy=False), SEED)
    try:
        module.next_batch()
        with torch.no_grad():
            algorithm.agent.policy_logits.bias[0] = float("nan")
        with pytest.raises(DivergedError, match="the policy diverged"):
            module.next_batch()
    finally:
        module.teardown("fit")


def test_the_policy_of_workers_is_a_copy_that_holds_no_gradients() -> None:
    algorithm = small_mipi(SlowWorld(1).entity_spec)
    policy = WorkerPolicy(algorithm.actor(greedy=False), [1])
    assert not any(parameter.requires_grad for parameter in policy.parameters())
    assert all(parameter.requires_grad for parameter in algorithm.agent.parameters())
    assert WorkerEnv(SlowWorld, 3, 0, 0)().num_envs == 3


def test_a_worker_whose_world_cannot_go_on_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Hopeless(SlowWorld):
        def begin(self, rows: Any, frame: Any) -> None:
            raise OSError("no simulator")

    def ended(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", ended)
    with pytest.raises(SystemExit, match="1"):
        WorkerEnv(Hopeless, 2, 0, 0)().reset()
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("mipi: worker 0: the world failed in environment 0, the first observation")
    assert "Hopeless.begin raised OSError: no simulator" in last


def test_a_worker_without_a_sign_of_life_is_killed_once_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        killed, exitcode = 0, None

        def kill(self) -> None:
            self.killed += 1

    monkeypatch.setattr(workers, "_BEAT_S", 0.02)
    algorithm = small_mipi(SlowWorld(1).entity_spec)
    source = ProcessSource(SlowWorld, ENVS, algorithm.actor(greedy=False), STEPS, 3, SEED, lambda: 0, lost_after_s=0.2)
    processes, beats = [Process(), Process(), Process()], np.array([0, 1, 1])  # the first has not begun
    threading.Thread(target=source._watch, args=(beats, processes), daemon=True).start()
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s and not processes[1].killed:
        beats[2] += 1
        time.sleep(0.01)
    time.sleep(0.5)
    source.close()
    assert [process.killed for process in processes[:2]] == [0, 1]
    assert source._deaths() == "worker 1 had not answered for 0.2 s and was killed"


def with_workers(folder: Path) -> ReplayDataModule:
    """As if its episodes came from workers; they come from this process, since starting workers takes seconds."""
    module = ReplayDataModule(
        SlowWorld,
        num_envs=2,
        batch_size=4,
        warmup_episodes=4,
        capacity=30,
        steps_per_collection=5,
        collector="processes",
        workers=1,
    )
    actor = small_mipi(module.env.entity_spec).actor(greedy=False)
    module.connect(actor)
    assert module.env.num_envs == 1, "it is there for its sizes"
    module._source = InlineSource(SlowWorld(2, step_s=0.0), actor, module.steps_per_collection)
    module._journal = EpisodeJournal(folder, capacity=30)
    return module


def test_a_resumed_run_has_replay_and_counts_and_begins_new_episodes(tmp_path: Path) -> None:
    one, two = with_workers(tmp_path), with_workers(tmp_path)
    for _ in range(9):
        one.next_batch()
    while not one._assembler._length.any():  # until an episode is under way
        one.collect()
    one.write_journal()
    torch.save(one.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert not {"environment", "observation", "actor", "assembler"} & state.keys()
    two.load_state_dict(state)
    assert (two.frames, two.episodes, two.batches) == (one.frames, one.episodes, one.batches)
    assert torch.equal(one.sample()["entities"], two.sample()["entities"])
    assert int(two._assembler._length.sum()) == 0 < int(one._assembler._length.sum())
    two.next_batch()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"collector": "threads"}, "datamodule.collector must be one of inline, processes, ray, got 'threads'"),
        ({"collector": "processes", "workers": 3}, r"datamodule.workers \(3\) must divide datamodule.num_envs \(8\)"),
        ({"collector": "processes", "workers": 0}, "datamodule.workers must be at least 1, got 0"),
        ({"collector": "ray"}, r"needs Ray: pip install 'mipi-pl\[ray\]'"),
        ({"collector": "processes", "curriculum": []}, "curriculum needs datamodule.collector=inline, got processes"),
    ],
)
@pytest.mark.parametrize("kind", [ReplayDataModule, OnPolicyDataModule])
def test_what_cannot_be_is_refused_before_anything_starts(
    kind: Any, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mipi_pl.datamodules.collectors.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=message):
        kind(SlowWorld, **{"num_envs": 8, **options})
