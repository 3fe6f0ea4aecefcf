"""Short forms of the soaks: `make soak` and `make soak-memory`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def carry_out(script: str, *arguments: str) -> str:
    """Run a script to its end; what it printed."""
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_run_is_killed_at_random_moments_and_a_soak_goes_on_where_it_was_ended(tmp_path: Path) -> None:
    short = ["--combinations", "mappo/matrix_game", "--frames", "600", "--outputs", str(tmp_path / "soak")]
    assert "1 kills" in carry_out("soak_resume.py", "--kills", "1", *short)
    said = carry_out("soak_resume.py", "--kills", "2", *short).splitlines()
    assert said[-1].startswith("2 kills")
    assert said[-1].endswith("2 ends, 0 of them different")
    rows = [json.loads(line) for line in (tmp_path / "soak" / "results.jsonl").read_text().splitlines()]
    assert [row["event"] for row in rows] == ["whole", "kill", "end", "kill", "end"]


def test_memory_threads_and_files_of_a_run_are_sampled(tmp_path: Path) -> None:
    game = ["experiment=matrix_game", "datamodule.num_envs=8"]
    carry_out(
        "soak_memory.py",
        *game,
        *("--kind", "on_policy", "--minutes", "0.03", "--every-s", "0.4"),
        "--outputs",
        str(tmp_path),
    )
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["exit_code"], result["left"], result["grown"]) == (130, [], [])
    assert len((tmp_path / "samples.csv").read_text().splitlines()) > 3
    assert (tmp_path / "memory.png").stat().st_size > 0
