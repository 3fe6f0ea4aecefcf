"""Short forms of the soaks: `make soak` and `make soak-memory`."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def carry_out(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script to its end."""
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test import the script, which sets variables when it is imported; they are restored after the test."""
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "WANDB_MODE", "MPLBACKEND"):
        monkeypatch.setenv(name, "")
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.mark.slow
def test_a_run_is_killed_at_random_moments_and_a_soak_goes_on_where_it_was_ended(tmp_path: Path) -> None:
    short = ["--combinations", "mappo/matrix_game", "--frames", "600", "--outputs", str(tmp_path / "soak")]
    first, second = (carry_out("soak_resume.py", "--kills", kills, *short) for kills in ("1", "2"))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "1 kills" in first.stdout
    assert second.stdout.splitlines()[-1].startswith("2 kills")
    assert second.stdout.endswith(" ends, 0 of them different\n")
    rows = [json.loads(line) for line in (tmp_path / "soak" / "results.jsonl").read_text().splitlines()]
    events = [row["event"] for row in rows]
    # A run may end before its signal, which is an end without a kill.
    after_kills = [event for before, event in pairwise(events) if event != "end" or before == "kill"]
    assert [events[0], *after_kills] == ["begin", "whole", "kill", "end", "kill", "end"]


def test_a_soak_goes_on_with_its_settings_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    importable(monkeypatch)
    from soak_resume import Journal

    path, settings = tmp_path / "results.jsonl", {"frames": 600, "seed": 0, "commit": "a"}
    Journal(path).begin(**settings)
    Journal(path).begin(**settings)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"event": "begin", **settings}]
    for other in ({"frames": 700}, {"seed": 1}, {"commit": "b"}):
        with pytest.raises(ValueError, match=f"begun with {next(iter(other))} .* and not"):
            Journal(path).begin(**{**settings, **other})
    path.write_text('{"event": "whole", "combination": "mipi/sz", "seconds": 1}\n')  # of an earlier version
    capsys.readouterr()
    Journal(path).begin(**settings)
    assert "has no settings" in capsys.readouterr().out
    assert len(path.read_text().splitlines()) == 1


def test_a_run_that_ends_before_its_signal_gets_another_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The uninterrupted run may have taken much longer than those that follow, as on a machine that was busy then."""
    importable(monkeypatch)
    import soak_resume

    run, times_s = tmp_path / "broken" / "mappo__matrix_game__0" / "now", []

    def begin_and_end(words: object, number: object = None, after_s: float = 0.0) -> tuple[float, int | None]:
        times_s.append(after_s)
        assert len(times_s) < 100, "the same time again and again"
        (run / "checkpoints").mkdir(parents=True)
        for name in ("checkpoints/index.json", "results.json"):
            (run / name).write_text('{"resumed_at": []}')
        return (after_s, -9) if after_s < 1.0 and number else (1.0, None)

    journal = soak_resume.Journal(tmp_path / "results.jsonl")
    soak = soak_resume.Soak("mappo/matrix_game", 600, 3, 0, tmp_path, journal)
    monkeypatch.setattr(soak, "_run", begin_and_end)
    monkeypatch.setattr(soak, "_uninterrupted", lambda: (run, 20.0))
    monkeypatch.setattr(soak_resume, "content", lambda _: {})
    soak.carry_out()
    assert len(journal.of("kill")) == 3
    assert len(set(times_s)) == len(times_s) > 3


@pytest.mark.slow
def test_memory_threads_and_files_of_a_run_are_sampled(tmp_path: Path) -> None:
    short = ["--experiment", "matrix_game", "--kind", "on_policy", "--minutes", "0.02", "--every-s", "0.3"]
    done = carry_out("soak_memory.py", *short, "--outputs", str(tmp_path))
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["exit_code"], result["left"]) == (130, []), done.stderr
    assert result["second_and_last_fifth"]["memory_mib"][0] > 50
    assert len((tmp_path / "samples.csv").read_text().splitlines()) > 3
    assert (tmp_path / "memory.png").stat().st_size > 0
