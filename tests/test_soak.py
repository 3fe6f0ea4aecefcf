"""Short forms of the soaks: `make soak` and `make soak-memory`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def carry_out(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script to its end."""
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_run_is_killed_at_random_moments_and_a_soak_goes_on_where_it_was_ended(tmp_path: Path) -> None:
    short = ["--combinations", "mappo/matrix_game", "--frames", "600", "--outputs", str(tmp_path / "soak")]
    first, second = (carry_out("soak_resume.py", "--kills", kills, *short) for kills in ("1", "2"))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "1 kills" in first.stdout
    assert second.stdout.splitlines()[-1].startswith("2 kills")
    assert second.stdout.endswith("2 ends, 0 of them different\n")
    rows = [json.loads(line) for line in (tmp_path / "soak" / "results.jsonl").read_text().splitlines()]
    assert [row["event"] for row in rows] == ["begin", "whole", "kill", "end", "kill", "end"]


def test_a_soak_goes_on_with_its_settings_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "WANDB_MODE", "MPLBACKEND"):
        monkeypatch.setenv(name, "")  # the script sets them when it is imported; they are restored after the test
    monkeypatch.syspath_prepend(BENCHMARKS)
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


def test_memory_threads_and_files_of_a_run_are_sampled(tmp_path: Path) -> None:
    short = ["--experiment", "matrix_game", "--kind", "on_policy", "--minutes", "0.02", "--every-s", "0.3"]
    done = carry_out("soak_memory.py", *short, "--outputs", str(tmp_path))
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["exit_code"], result["left"]) == (130, []), done.stderr
    assert result["second_and_last_fifth"]["memory_mib"][0] > 50
    assert len((tmp_path / "samples.csv").read_text().splitlines()) > 3
    assert (tmp_path / "memory.png").stat().st_size > 0
