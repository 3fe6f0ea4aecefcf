from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mipi_pl.run.fit import held
from mipi_pl.storage import run_folder
from mipi_pl.storage.lock import in_use, lock
from mipi_pl.utils.errors import UserError

HOLDS = """
import sys
from pathlib import Path
from mipi_pl.storage.lock import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""
"""Holds the folder until a line comes. `held` takes this lock; its module imports torch, which takes seconds."""

PAUSES_AFTER_RELEASE = """
import filelock
release = filelock.FileLock.release
def pause(*arguments, **options):
    filelock.FileLock.release = release
    release(*arguments, **options)
    print("released", flush=True)
    input()
filelock.FileLock.release = pause
"""
"""What comes after the first release of the lock waits for a line."""

PROBES = """
import sys
from pathlib import Path
from mipi_pl.storage.lock import in_use
print("probing", flush=True)
while True:
    in_use(Path(sys.argv[1]))
"""
"""Probes without end, as many calls of `mipi runs` would."""

PROBES_SLOWLY = """
import fcntl, time
take = fcntl.flock
def take_and_wait(file, how):
    take(file, how)
    if how != fcntl.LOCK_UN:
        print("looks", flush=True)
        time.sleep(0.3)
fcntl.flock = take_and_wait
"""
"""Has what it takes for a probe for some time; goes before `PROBES`."""


@contextmanager
def process(script: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def says(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdout is not None
    assert child.stdout.readline() == f"{line}\n"


def let_go_on(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def test_two_processes_never_hold_a_folder_when_a_third_has_just_left_it(tmp_path: Path) -> None:
    with process(PAUSES_AFTER_RELEASE + HOLDS, tmp_path) as leaves:
        says(leaves, "held")
        let_go_on(leaves)
        says(leaves, "released")
        with process(HOLDS, tmp_path) as holds:
            says(holds, "held")
            let_go_on(leaves)
            leaves.wait()
            with pytest.raises(UserError, match="is in use"), held(tmp_path):
                pass


def test_a_run_that_has_ended_leaves_its_folder_free(tmp_path: Path) -> None:
    with process(HOLDS, tmp_path) as holds:
        says(holds, "held")
        assert in_use(tmp_path)
        let_go_on(holds)
        holds.wait()
    assert not in_use(tmp_path)
    with held(tmp_path):
        assert in_use(tmp_path)


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with process(HOLDS, tmp_path) as holds:
        says(holds, "held")
        holds.kill()
        holds.wait()
    assert not in_use(tmp_path)
    with held(tmp_path):
        pass


def test_a_run_is_not_refused_because_somebody_looks_whether_its_folder_is_in_use(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    with process(PROBES_SLOWLY + PROBES.replace("while True:", "for _ in range(1):"), tmp_path) as probes:
        says(probes, "probing")
        says(probes, "looks")
        with held(tmp_path):
            pass


def test_who_looks_does_not_take_another_one_who_looks_for_a_run(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    with process(PROBES, tmp_path) as probes:
        says(probes, "probing")
        assert not any(in_use(tmp_path) for _ in range(20_000))


def test_a_file_system_without_locks_is_told_by_the_file_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(file: object, how: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.warns(UserWarning, match="flock not supported"), lock(tmp_path):
        assert in_use(tmp_path)
    assert not in_use(tmp_path)


def test_looking_makes_no_file(tmp_path: Path) -> None:
    assert not in_use(tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with held(tmp_path):
        pass
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # permissions do not stop the superuser
    with pytest.raises(UserError, match=r"cannot write to .*Permission denied"), held(tmp_path):
        pass
    assert not in_use(tmp_path)


def test_a_lock_file_alone_does_not_keep_a_folder(tmp_path: Path) -> None:
    used, unused = tmp_path / "name" / "used", tmp_path / "name" / "unused"
    for folder in (used, unused):
        folder.mkdir(parents=True)
        with lock(folder):
            pass
    (used / "config.yaml").touch()
    for folder in (used, unused):
        run_folder.discard_if_empty(folder, tmp_path / "name")
    assert (used / ".lock").exists()
    assert not unused.exists()
