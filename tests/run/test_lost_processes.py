"""Processes of a run that are killed or stopped are noticed by the others; those that end or wait are not lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning import Trainer

from mipi_pl import distributed
from mipi_pl.run import lost_processes
from mipi_pl.run.fit import fit
from mipi_pl.run.lost_processes import Peers, Place, is_running, losses_named
from mipi_pl.utils.errors import FailedError, WorkerError, mark_reported

LIMIT = 10
"""Beats without an answer after which a process is lost."""


class Memory:
    """Counters of two processes in one; they do not answer while `answers` is not set."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.answers = threading.Event()
        self.answers.set()

    def add(self, key: str, amount: int) -> int:
        self.answers.wait()
        self.counts[key] += amount
        return self.counts[key]


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_processes, "BEAT_S", 0.02)
    monkeypatch.setattr(lost_processes, "GRACE_S", 0.0)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def pair(counters: Memory, ended: list[int], second: int | None = None, run: int = 0) -> list[Peers]:
    here = os.getpid()
    places = [Place("host", here), Place("host", second or here)]
    return [
        Peers(counters, rank, places, LIMIT * lost_processes.BEAT_S, lambda rank=rank: ended.append(rank), run)
        for rank in (0, 1)
    ]


def until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_processes_that_live_and_processes_that_have_ended_are_not_lost() -> None:
    ended: list[int] = []
    first, second = pair(Memory(), ended)
    first.start()
    second.start()
    time.sleep(3 * LIMIT * lost_processes.BEAT_S)
    second.close()
    time.sleep(3 * LIMIT * lost_processes.BEAT_S)
    first.close()
    assert (first.loss, second.loss, ended) == (None, None, [])


def test_a_process_that_is_stopped_is_named_killed_and_ends_the_others(
    sleeper: subprocess.Popen[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    ended: list[int] = []
    first, _ = pair(Memory(), ended, sleeper.pid)
    sleeper.send_signal(signal.SIGSTOP)
    first.start()
    until(lambda: ended)
    assert first.loss == f"process 1 of this run (pid {sleeper.pid}) has not answered for 0.2 s"
    assert f"mipi: {first.loss}; ending the other processes\n" == capfd.readouterr().err
    assert sleeper.wait(10) == -signal.SIGKILL


def test_a_process_that_is_killed_is_noticed_before_it_counts_as_silent(sleeper: subprocess.Popen[bytes]) -> None:
    ended: list[int] = []
    first, _ = pair(Memory(), ended, sleeper.pid)
    first._limit = 10_000
    first.start()
    sleeper.kill()
    until(lambda: ended)
    assert first.loss == f"process 1 of this run (pid {sleeper.pid}) was killed"


def test_a_first_process_that_is_stopped_takes_the_counters_with_it(capfd: pytest.CaptureFixture[str]) -> None:
    ended: list[int] = []
    counters = Memory()
    _, second = pair(counters, ended)
    counters.counts["mipi/0/alive/0"] = 1
    second.start()
    counters.answers.clear()
    until(lambda: ended)
    counters.answers.set()
    assert ended == [1]
    assert "process 0 of this run" in capfd.readouterr().err


def test_a_failed_exchange_names_the_process_that_is_gone(
    sleeper: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair(Memory(), [], sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    monkeypatch.setattr(distributed, "is_lost", lambda error: "gloo" in str(error))
    monkeypatch.setattr(lost_processes, "_current", [first])
    message = rf"process 1 of this run \(pid {sleeper.pid}\) has ended; resume"
    with pytest.raises(FailedError, match=message) as caught, losses_named(tmp_path):
        raise RuntimeError("gloo: connection closed by peer")
    assert not caught.value.reported_by_any_process, "the first process prints it in any case"
    second._places = [Place("host", sleeper.pid), Place("host", os.getpid())]
    monkeypatch.setattr(lost_processes, "_current", [second])
    with pytest.raises(FailedError, match="process 0") as caught, losses_named(tmp_path):
        raise RuntimeError("gloo: connection closed by peer")
    assert caught.value.reported_by_any_process
    with pytest.raises(RuntimeError, match="another error"), losses_named(tmp_path):
        raise RuntimeError("another error")


def test_processes_of_other_machines_are_not_looked_up_here(capfd: pytest.CaptureFixture[str]) -> None:
    ended: list[int] = []
    counters = Memory()
    here = Place.here()
    assert here == Place.here()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    places = [here, here._replace(host="elsewhere", pid=gone.pid, machine="another")]
    first = Peers(counters, 0, places, LIMIT * lost_processes.BEAT_S, lambda: ended.append(0))
    first.start()
    until(lambda: ended)
    assert f"process 1 of this run (pid {gone.pid} on elsewhere) has not answered for 0.2 s" in capfd.readouterr().err


def test_a_stopped_process_runs_and_one_that_is_gone_does_not(sleeper: subprocess.Popen[bytes]) -> None:
    assert is_running(os.getpid())
    sleeper.send_signal(signal.SIGSTOP)
    assert is_running(sleeper.pid)
    sleeper.kill()
    until(lambda: not is_running(sleeper.pid))  # also while nobody has waited for it
    sleeper.wait()
    assert not is_running(sleeper.pid)


def test_each_run_has_counters_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = Memory()
    here = Place("host", os.getpid())
    monkeypatch.setattr(distributed, "size", lambda: 2)
    monkeypatch.setattr(distributed, "gather", lambda _: [here, here])
    monkeypatch.setattr(lost_processes.dist, "TCPStore", lambda *_, **__: counters)
    for name, value in (("MASTER_ADDR", "localhost"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    for _ in range(2):
        lost_processes.watch(100.0)
        until(lambda: lost_processes._current[-1]._rounds)
    monkeypatch.setattr(distributed, "size", lambda: 1)
    lost_processes.watch(100.0)
    ended = [key for key, count in counters.counts.items() if "/ended/0" in key and count]
    assert len(ended) == 2


def test_a_second_run_of_the_same_processes_notices_a_stopped_process_too(sleeper: subprocess.Popen[bytes]) -> None:
    ended: list[int] = []
    counters = Memory()
    for one in (former := pair(counters, ended)):
        one.start()
    for one in former:
        one.close()
    first, _ = pair(counters, ended, sleeper.pid, run=1)
    sleeper.send_signal(signal.SIGSTOP)
    first.start()
    until(lambda: ended)
    assert first.loss == f"process 1 of this run (pid {sleeper.pid}) has not answered for 0.2 s"


@pytest.mark.parametrize("known", [False, True])
def test_a_failure_that_the_first_process_does_not_know_is_reported_where_it_happens(
    known: bool, tmp_path: Path
) -> None:
    error: Any = WorkerError("worker 0 died")
    mark_reported(error, known)

    def fail(*_: Any, **__: Any) -> None:
        raise error

    trainer: Any = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit = fail
    parts: Any = SimpleNamespace(trainer=trainer, algorithm=None, datamodule=SimpleNamespace(teardown=lambda _: None))
    with pytest.raises(FailedError, match=r"^worker 0 died\. No checkpoint was written yet") as caught:
        fit(parts, tmp_path, None, print)
    assert caught.value.reported_by_any_process is not known
