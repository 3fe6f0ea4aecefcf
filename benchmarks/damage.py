"""Damage test: damages the files of runs in many ways and checks that none is silently used.

    python benchmarks/damage.py [--files 1000] [--resume-every 25] [--seed 0] [--outputs outputs/damage]

Trains a short run twice, once killed in the middle, and exports its policy. Then one file at a time is damaged: bits
are flipped, the end is cut off, a block is filled with zeros, the content is that of another file, a folder is in its
place, and in JSON, YAML and CSV files values have wrong types or entries are repeated. The files are the index, the
checkpoints, the stored episodes, config.yaml, metrics.csv, evaluations.csv, results.json and the exported policy.

Each damage must be *refused*, with one line, or *survived*: everything that is read equals the undamaged content, and
if an older checkpoint is used, a line says so. Every `--resume-every`-th survived damage of the killed run is also
resumed to the end, which must equal that of the undamaged run bit for bit.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "references"))

from damage import SURVIVED, Judge, SilentlyUsedError, base_runs, damages, resumed
from run_content import content, differences


def main() -> None:
    """Damage the files and print the counts; exits with 1 if a damaged file was silently used."""
    parser = argparse.ArgumentParser(description="Damage files of runs, and check that none is silently used.")
    parser.add_argument("--files", type=int, default=1000, help="number of damaged files")
    parser.add_argument("--resume-every", type=int, default=25, help="resume each survived run of this number")
    parser.add_argument("--seed", type=int, default=0, help="seed of the damages")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/damage"), help="new folder for the runs")
    arguments = parser.parse_args()
    if arguments.outputs.exists():
        parser.error(f"--outputs must be a new folder, but {arguments.outputs} exists: choose another or remove it")
    root = arguments.outputs.resolve()
    with contextlib.redirect_stdout(io.StringIO()):
        judge = Judge(*base_runs(root), root)
        end = content(judge.finished)
    verdicts: dict[str, Counter[str]] = {}
    bad: list[str] = []
    survived_runs = resumed_runs = 0
    for damage in islice(damages(judge.files, random.Random(arguments.seed)), arguments.files):
        counts = verdicts.setdefault(damage.file.name if damage.file.suffix != ".pt" else "episodes", Counter())
        try:
            verdict = judge.judge(damage)
        except SilentlyUsedError as error:
            verdict = "silently used"
            bad.append(str(error))
            print(error, flush=True)
        counts[verdict] += 1
        if verdict != SURVIVED or damage.file not in judge.run_files:
            continue
        survived_runs += 1
        if survived_runs % arguments.resume_every == 0:
            with contextlib.redirect_stdout(io.StringIO()):
                is_resumed = resumed(judge.stopped, root / "copy" / "name" / "run", damage)
            resumed_runs += is_resumed
            found = differences(end, content(root / "copy" / "name" / "run")) if is_resumed else []
            bad += [f"{damage.kind} {damage.file.name}: the resumed run differs: {found[:3]}"] if found else []
    for name, counts in sorted(verdicts.items()):
        print(f"{name:<24} {', '.join(f'{verdict}: {count}' for verdict, count in sorted(counts.items()))}")
    total = sum(verdicts.values(), Counter())
    print(json.dumps({"files": sum(total.values()), **total, "resumed": resumed_runs, "wrong": len(bad)}))
    print("\n".join(bad))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
