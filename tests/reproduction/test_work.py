from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from run_folders import make_run

from mipi_pl.cli import main
from mipi_pl.reproduction import launchers
from mipi_pl.reproduction.launchers import run_through
from mipi_pl.reproduction.plan import make_plan
from mipi_pl.reproduction.reproduce import Options, reproduce
from mipi_pl.reproduction.tasks import Task, claimed, last_line, perform, run_here, threads_for, write_tasks
from mipi_pl.reproduction.work import look, task_of
from mipi_pl.utils.errors import FailedError, UserError


def here(tasks: Sequence[Task], at_once: int, say: Callable[[str], None]) -> None:
    """In this process, which needs no new imports."""
    for task in tasks:
        main(list(task.words))


@pytest.mark.slow
def test_smoke_runs_the_plan_and_prints_the_comparison(tmp_path: Path) -> None:
    said: list[str] = []
    options = Options("figure2", "smoke", tmp_path / "é, (1)")
    folder = reproduce(options, said.append, here)
    assert folder is not None
    assert "3 runs: 3 to start" in said[1]
    text = "\n".join(said)
    assert "matrix game MIPI BB" in " ".join(text.split())
    assert "best in paper" in text
    assert (folder / "report.html").exists()
    assert "figure2" in str(folder)

    assert reproduce(replace(options, dry_run=True), said.append) is None
    assert said[-1] == "3 runs: 3 done"


def test_commands_run_in_processes_of_their_own_some_at_once(tmp_path: Path) -> None:
    said: list[str] = []
    tasks = [
        Task("version", ("--version",), tmp_path / "a" / "one.log"),
        Task("mistake", ("bogus",), tmp_path / "two.log"),
    ]
    run_here(tasks, 2, said.append)
    assert (tmp_path / "a" / "one.log").read_text().startswith("mipi ")
    text = "\n".join(said)
    assert "[1/2] version: ended" in text
    assert "[2/2] mistake: ended with exit code 2: mipi: unknown command 'bogus'" in text


def test_a_run_that_another_command_has_begun_meanwhile_is_left_to_it(tmp_path: Path) -> None:
    plan = make_plan("figure2", "smoke", tmp_path, [0])
    job = plan.jobs[0]
    task = task_of(look([job])[0], 1)
    assert task is not None
    assert task.is_due()
    said: list[str] = []
    with claimed(task) as is_ours:  # another command has just started the run, and its folder is not there yet
        assert is_ours
        run_here([task], 1, said.append)
    make_run(job.folder, seed=job.seed)  # and has finished it
    assert not task.is_due()
    run_here([task], 1, said.append)
    assert len(said) == 2
    assert all("another command has begun it meanwhile" in line for line in said)
    assert not task.log.exists()


def test_a_queued_task_of_a_run_that_is_finished_meanwhile_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, started = make_plan("figure2", "smoke", tmp_path, [0]).jobs[0], list[str]()
    task = task_of(look([job])[0], 1)
    assert task is not None
    write_tasks(tmp_path / "tasks.json", [task])

    def start(task: Task) -> SimpleNamespace:
        started.append(task.name)
        make_run(job.folder, seed=job.seed)
        return SimpleNamespace(wait=lambda: 0)

    monkeypatch.setattr("mipi_pl.reproduction.tasks.start", start)
    queued = SimpleNamespace(tasks=str(tmp_path / "tasks.json"), task=0)
    assert [perform(queued), perform(queued)] == [0, 0]  # the list of an interrupted command and of the next one
    assert started == [job.name]


def test_an_override_that_a_later_run_refuses_is_told_before_any_run_starts(tmp_path: Path) -> None:
    started: list[Task] = []

    def note(tasks: Sequence[Task], *_: object) -> None:
        started.extend(tasks)

    options = Options("table1", "smoke", tmp_path, tasks=["SZ"], overrides=["algorithm.alpha=0.5"])
    with pytest.raises(UserError, match=r"^SZ, REFIL: unknown key algorithm.alpha"):
        reproduce(options, lambda _: None, note)
    assert started == []


def test_runs_that_failed_end_the_command_with_a_message(tmp_path: Path) -> None:
    def nothing(*_: object) -> None:
        """As if every run had been killed before it began."""

    with pytest.raises(FailedError, match="3 of 3 runs are not finished; the first: matrix game, MIPI"):
        reproduce(Options("figure2", "smoke", tmp_path), lambda _: None, nothing)


@pytest.fixture
def request_to_terminate() -> Iterator[list[int]]:
    """Requests that nobody took, which would otherwise end the tests themselves."""
    untaken: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: untaken.append(number))
    yield untaken
    signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_a_request_to_terminate_ends_what_is_under_way_and_starts_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_to_terminate: list[int]
) -> None:
    ended = threading.Event()
    started: list[str] = []
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    class Process:
        def wait(self) -> int:
            assert ended.wait(30)
            return 130

        def terminate(self) -> None:
            ended.set()

    def start(task: Task) -> Process:
        started.append(task.name)
        signal.pthread_kill(main_thread, signal.SIGTERM)
        return Process()

    monkeypatch.setattr("mipi_pl.reproduction.tasks.start", start)
    tasks = [Task(str(number), ("train",), tmp_path / "log") for number in range(3)]
    with pytest.raises(KeyboardInterrupt):
        run_here(tasks, 1, lambda _: None)
    assert ended.is_set()
    assert started == ["0"]
    assert request_to_terminate == []
    signal.raise_signal(signal.SIGTERM)
    assert request_to_terminate == [signal.SIGTERM], "what happens on the signal is not as it was before"


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_hydra_launcher_runs_all_tasks(launcher: str, tmp_path: Path) -> None:
    pytest.importorskip(f"hydra_plugins.{launchers.LAUNCHERS[launcher][0]}")
    tasks = [Task(str(number), ("--version",), tmp_path / f"{number}.log") for number in range(2)]
    run_through(launcher, tasks, 2, [], tmp_path / "é, (1)")
    assert [task.log.read_text().split()[0] for task in tasks] == ["mipi", "mipi"]


def test_a_launcher_that_is_not_there_or_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [Task("one", ("--version",), tmp_path / "log")]
    if launchers.find_spec("hydra_plugins.hydra_joblib_launcher"):
        with pytest.raises(UserError, match="bogus"):
            run_through("joblib", tasks, 1, ["bogus=1"], tmp_path)
    monkeypatch.setattr(launchers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install 'mipi-pl\\[launchers\\]'"):
        run_through("joblib", tasks, 1, [], tmp_path)


def test_the_last_line_of_a_log_is_what_a_command_said_last(tmp_path: Path) -> None:
    assert last_line(tmp_path / "nothing") == "no log"
    (tmp_path / "log").write_bytes(b"one\ntwo \xff\n\n")
    assert last_line(tmp_path / "log") == "two �"
    (tmp_path / "log").write_text("")
    assert last_line(tmp_path / "log") == "it printed nothing"


def test_the_threads_of_simultaneous_runs_are_the_cores_that_the_process_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {2, 3, 5, 7}, raising=False)
    assert [threads_for(at_once) for at_once in (1, 2, 3, 8)] == [4, 2, 1, 1]
