"""Odd environments: variables, closed or broken streams, a cache that cannot be written, signals of a lost terminal."""

from __future__ import annotations

import errno
import importlib.util
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from crash import Stop

from mipi_pl.cli import main
from mipi_pl.models import fused
from mipi_pl.storage.checkpoints import CheckpointFolder
from mipi_pl.utils import compiled
from mipi_pl.utils.launched import is_first_process

ROOT = Path(__file__).resolve().parent.parent
TINY = ["experiment=matrix_game", "debug=tiny", "total_frames=60", "held_out.baselines=[]", "threads=1"]


def program(*arguments: str, shell: str = "", options: tuple[str, ...] = (), **variables: str) -> Any:
    """Run the program in a process of its own; `shell` are redirections."""
    command = [sys.executable, *options, "-m", "mipi_pl", *arguments]
    return subprocess.run(
        ["bash", "-c", f'"$@" {shell}', "bash", *command],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_run_in_an_environment_where_everything_is_odd(tmp_path: Path) -> None:
    odd = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "WANDB_MODE": "bogus",
        "COLUMNS": "0",
        "LINES": "0",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONIOENCODING": "ascii",
        "OMP_NUM_THREADS": "abc",
        "HOME": "/nonexistent",
        "TMPDIR": "/nonexistent",
        "HYDRA_FULL_ERROR": "1",
    }
    done = program("train", *TINY, f"output_dir='{tmp_path}/ü'", shell="<&- >&-", **odd)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.glob("ü/*__*/*/results.png"))


def test_python_without_docstrings_is_refused_in_one_line_and_still_helps() -> None:
    refused = program("train", options=("-OO",))
    assert refused.returncode == 2
    assert refused.stderr.startswith("mipi: Python runs with -OO")
    assert refused.stderr.count("\n") == 1
    assert program("--help", options=("-OO",), shell="| head -1", COLUMNS="0").stdout.startswith("usage: mipi")


def test_an_unknown_mode_of_wandb_is_a_mistake_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "bogus")
    assert main(["train", *TINY, "logger=wandb", f"output_dir={tmp_path}"]) == 2
    assert "WANDB_MODE must be one of online, offline, disabled, got 'bogus'" in capfd.readouterr().err


def test_a_folder_that_was_deleted_is_a_mistake_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["runs"]) == 2
    assert capfd.readouterr().err.startswith("mipi: the current folder no longer exists")


@pytest.mark.parametrize("threads", ["0", "abc", "-1", "100000"])
def test_a_number_of_threads_that_numba_cannot_use_is_a_mistake_of_the_user(
    threads: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
    assert main(["runs"]) == 2
    assert f"NUMBA_NUM_THREADS must be a number from 1 to 4096, got {threads!r}" in capfd.readouterr().err


# ------------------------------------------------------------------ output


class Broken(io.StringIO):
    """A stream that fails from some write on."""

    def __init__(self, after: int, number: int) -> None:
        super().__init__()
        self.left, self.number = after, number

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)


def test_training_goes_on_without_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(4, errno.EIO))
    assert main(["train", *TINY, f"output_dir={tmp_path}"]) == 0
    assert list(tmp_path.glob("*__*/*/results.json"))
    stderr = capfd.readouterr().err
    assert stderr == "mipi: the output cannot be written (Input/output error); training goes on without it\n"


@pytest.mark.parametrize(
    ("number", "stderr"),
    [(errno.EPIPE, ""), (errno.ENOSPC, "mipi: the output cannot be written (No space left on device)\n")],
)
def test_other_commands_end_without_their_output(
    number: int, stderr: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(0, number))
    assert main(["--help"]) == 1
    assert capfd.readouterr().err == stderr


# ------------------------------------------------------------------ signals


@pytest.fixture
def open_terminal() -> Iterator[None]:
    """SIGHUP has its default effect, also if the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("open_terminal")
def test_a_closed_terminal_saves_as_a_request_to_terminate_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stop, "number", signal.SIGHUP)
    stop = "+callbacks.stop={_target_: crash.Stop, rank: 0, update: 5}"
    assert main(["train", *TINY, stop, f"output_dir={tmp_path}"]) == 130
    (folder,) = tmp_path.glob("*__*/*")
    assert CheckpointFolder(folder).entries()[-1].file == "update_000000005.ckpt"


@pytest.mark.usefixtures("open_terminal")
def test_the_helper_of_multiprocessing_survives_a_closed_terminal() -> None:
    code = (
        "import os, signal; from multiprocessing import resource_tracker;"
        "from mipi_pl.utils.signals import shield_resource_tracker; shield_resource_tracker();"
        "os.kill(resource_tracker._resource_tracker._pid, signal.SIGHUP);"
        "from multiprocessing import Lock; Lock();"
        "print(signal.getsignal(signal.SIGHUP) is signal.SIG_DFL)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_under_nohup_a_closed_terminal_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stop, "number", signal.SIGHUP)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = "+callbacks.stop={_target_: crash.Stop, rank: 0, update: 5}"
        assert main(["train", *TINY, stop, f"output_dir={tmp_path}"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


# ------------------------------------------------------------------ numba


KERNEL = """
from numba import njit
from mipi_pl.utils.compiled import cached

def double(x):
    return 2 * x

double = cached(njit(double))
"""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], ModuleType]:
    """Import a module with a compiled function, as a new process would; its cache is in `__pycache__`."""
    file = tmp_path / "kernel.py"
    file.write_text(KERNEL)
    monkeypatch.setattr("numba.core.config.CACHE_DIR", "")
    compiled._say_uncached.cache_clear()

    def load() -> ModuleType:
        found = importlib.util.spec_from_file_location("kernel", file)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        monkeypatch.setitem(sys.modules, "kernel", module)
        found.loader.exec_module(module)
        return module

    return load


def test_machine_code_is_cached_and_a_damaged_cache_is_replaced(
    kernel: Callable[[], Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert kernel().double(2) == 4
    files = [file for file in tmp_path.rglob("*.nb?") if file.is_file()]
    assert {file.suffix for file in files} == {".nbi", ".nbc"}
    again = kernel()
    again.double(2)
    assert sum(again.double.stats.cache_hits.values()) == 1
    for suffix in (".nbi", ".nbc"):
        (file,) = (file for file in files if file.suffix == suffix)
        file.write_bytes(b"\x80\x04damaged")
        damaged, repaired = kernel(), kernel()
        assert damaged.double(2) == repaired.double(2) == 4
        assert sum(damaged.double.stats.cache_hits.values()) == 0
        assert sum(repaired.double.stats.cache_hits.values()) == 1
    assert capfd.readouterr().err == ""


def test_a_change_of_a_called_function_in_another_file_is_compiled(
    kernel: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "called_by_kernel"
    package.mkdir()
    (package / "__init__.py").touch()
    (tmp_path / "kernel.py").write_text(
        KERNEL.replace("2 * x", "factor() * x")
        .replace("njit(double)", "njit(double), 'called_by_kernel'")
        .replace("\ndef", "from called_by_kernel.rules import factor\n\ndef")
    )
    monkeypatch.syspath_prepend(tmp_path)

    def with_factor(number: int) -> Any:
        (package / "rules.py").write_text(f"from numba import njit\n\n@njit\ndef factor():\n    return {number}\n")
        for name in ("called_by_kernel.rules", "called_by_kernel"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        compiled.source_hash.cache_clear()
        return kernel()

    for number, hits in ((2, 0), (2, 1), (3_000, 0), (2, 1)):
        module = with_factor(number)
        assert (module.double(2), sum(module.double.stats.cache_hits.values())) == (2 * number, hits)


def test_without_a_folder_for_the_cache_kernels_are_compiled_and_one_line_says_so(
    kernel: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("numba.core.config.CACHE_LOCATOR_CLASSES", "UserProvidedCacheLocator")
    assert kernel().double(2) == kernel().double(2) == 4
    stderr = capfd.readouterr().err
    assert stderr.startswith("mipi: numba's cache cannot be used, so kernels are compiled again in every process")
    assert stderr.count("\n") == 1


def test_a_full_disk_does_not_keep_kernels_from_running(
    kernel: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    assert kernel().double(2) == 4
    assert capfd.readouterr().err.count("cannot be used") == 1


def test_only_the_first_process_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    assert is_first_process()
    for empty in ("", "0"):
        monkeypatch.setenv("LOCAL_RANK", empty)
        assert is_first_process()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_first_process()


def test_without_compilation_the_networks_use_plain_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fused.usable(torch.zeros(1))
    monkeypatch.setattr(fused, "_COMPILATION_OFF", True)
    assert not fused.usable(torch.zeros(1))
