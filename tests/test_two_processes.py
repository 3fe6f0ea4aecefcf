"""Training on two processes: own battles, equal networks, one record."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

REFERENCES = Path(__file__).parent / "references"
MIPI = [sys.executable, "-c", "import sys; from mipi_pl.cli import main; sys.exit(main())"]


def test_two_processes_learn_one_policy_from_battles_of_their_own(tmp_path: Path) -> None:
    overrides = [
        "experiment=matrix_game",
        "debug=tiny",
        "total_frames=240",
        "trainer.devices=2",
        "trainer.log_every_n_steps=5",
        "datamodule.updates_per_episode=0.25",
        "callbacks.checkpointing.every_frames=60",
        "+callbacks.fingerprint._target_=crash.Fingerprint",
        f"+callbacks.fingerprint.folder={tmp_path}",
        f"output_dir={tmp_path / 'outputs'}",
    ]
    # A launcher's script, as Lightning starts the other processes by the command line of the first.
    script = tmp_path / "run.py"
    script.write_text("import sys\nfrom mipi_pl.cli import main\nsys.exit(main())\n")
    environment = {**os.environ, "PYTHONPATH": f"{REFERENCES}:{Path.cwd()}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), "train", *overrides]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in (0, 1))
    assert first["updates"] == second["updates"] > 20
    assert first["networks"] == second["networks"]
    assert first["seen"] != second["seen"]

    (folder,) = (tmp_path / "outputs").glob("matrix_game__mipi__0/*")
    results = json.loads((folder / "results.json").read_text())
    assert results["frames"] == 2 * first["frames"]
    with (folder / "metrics.csv").open(newline="") as file:
        steps = [row["step"] for row in csv.DictReader(file) if row["train/loss/td"]]
    assert len(steps) == len(set(steps)) > 3
    assert len(list((folder / "checkpoints").glob("update_*.ckpt"))) == 2

    resumed = subprocess.run([*MIPI, "resume", str(folder)], capture_output=True, text=True, timeout=300)
    assert resumed.returncode == 2
    assert "is finished" in resumed.stderr
