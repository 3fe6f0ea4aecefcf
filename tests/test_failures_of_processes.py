"""How a failure in one of several processes ends all of them and is reported; the exchanges are played by hand."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from mipi_pl import distributed
from mipi_pl.cli import main
from mipi_pl.utils.errors import DivergedError, FailedError, UserError, is_reported, mark_reported
from mipi_pl.utils.memory import ShortageError


def decided_by_the_first(error: Exception) -> Exception:
    mark_reported(error, True)
    return error


@pytest.mark.parametrize(
    ("error", "stderr"),
    [
        (FailedError("diverged"), ""),
        (FailedError("a worker died", reported_by_any_process=True), "mipi (process 1): a worker died\n"),
        (UserError("my disk is full"), "mipi (process 1): my disk is full\n"),
        (decided_by_the_first(UserError("in use")), ""),
        (MemoryError(), f"mipi (process 1): {ShortageError(MemoryError())}\n"),
        (decided_by_the_first(MemoryError()), ""),
        (decided_by_the_first(PermissionError(13, "Permission denied", "map.bin")), ""),
    ],
)
def test_what_ends_all_processes_is_reported_once(
    error: Exception, stderr: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(_: list[str]) -> None:
        raise error

    monkeypatch.setattr("mipi_pl.run.launch.launch", fail)
    monkeypatch.setattr("mipi_pl.distributed.rank", lambda: 1)
    assert main(["train"]) in (1, 2)
    assert capfd.readouterr().err == stderr


@pytest.mark.parametrize(
    ("own", "others", "ended", "is_told"),
    [
        (None, [None, None], None, False),
        ("too wide", ["too wide", "too wide"], "too wide", False),
        ("my disk is full", ["too wide", "my disk is full"], "my disk is full", True),
        (None, ["too wide", None], "too wide", False),
    ],
)
def test_a_mistake_that_several_processes_find_is_told_once(
    own: str | None, others: list[str | None], ended: str | None, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> int:
        if own is not None:
            raise UserError(own)
        return 3

    monkeypatch.setattr("mipi_pl.distributed.size", lambda: 2)
    monkeypatch.setattr("mipi_pl.distributed.rank", lambda: 1)
    monkeypatch.setattr("mipi_pl.distributed.gather", lambda _: others)
    if ended is None:
        assert distributed.on_all_ranks(work) == 3
        return
    with pytest.raises(UserError, match=ended) as caught:
        distributed.on_all_ranks(work)
    assert is_reported(caught.value) is not is_told


def test_a_mistake_that_only_a_later_process_finds_is_told_by_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise UserError("my disk is full")

    monkeypatch.setattr("mipi_pl.distributed.size", lambda: 2)
    monkeypatch.setattr("mipi_pl.distributed.gather", lambda _: [None, "my disk is full"])
    for rank, work, is_silent in ((0, lambda: None, False), (1, full, True)):
        monkeypatch.setattr("mipi_pl.distributed.rank", lambda rank=rank: rank)
        with pytest.raises(UserError, match="my disk is full") as caught:
            distributed.on_all_ranks(work)
        assert is_reported(caught.value) is is_silent


def test_tasks_are_divided_and_a_failure_ends_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def ran(task: int) -> int:
        if task in failing:
            raise failing[task]
        return 2 * task

    def outcomes(ranks: int) -> list[object]:
        """What each process gathers, found by running its share alone."""
        found: list[object] = []
        monkeypatch.setattr("mipi_pl.distributed.gather", lambda own: (found.append(own), [own] * ranks)[1])
        for rank in range(ranks):
            monkeypatch.setattr("mipi_pl.distributed.rank", lambda rank=rank: rank)
            with suppress(Exception):
                distributed.map_over_ranks(range(5), ran)
        return found

    def results(rank: int) -> list[int]:
        shared = outcomes(2)
        monkeypatch.setattr("mipi_pl.distributed.gather", lambda _: shared)
        monkeypatch.setattr("mipi_pl.distributed.rank", lambda: rank)
        return distributed.map_over_ranks(range(5), ran)

    monkeypatch.setattr("mipi_pl.distributed.size", lambda: 2)
    failing: dict[int, Exception] = {}
    assert results(0) == results(1) == [0, 2, 4, 6, 8]
    expected: Any
    for task, error, expected in (
        (1, UserError("no such map"), (UserError, "no such map")),
        (2, DivergedError("NaN"), (DivergedError, "NaN")),
        (3, ValueError("a bug"), (FailedError, "process 1: ValueError: a bug")),
        (1, AssertionError(), (FailedError, "process 1: AssertionError")),
        (1, MemoryError(), (FailedError, f"process 1: {ShortageError(MemoryError())}")),
    ):
        failing = {task: error}
        for rank in (0, 1):
            with pytest.raises((type(error), expected[0])) as caught:
                results(rank)
            own = task % 2 == rank
            kind, message = (type(error), str(error)) if own else expected
            assert (type(caught.value), str(caught.value)) == (kind, message)
            assert is_reported(caught.value) is (rank > 0)
