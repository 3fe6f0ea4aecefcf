"""All measurements of this folder, in one table with the ratios; it is appended to benchmarks/results.md.

    python benchmarks/bench.py [--threads 2] [--refil PATH [--smaclite PATH]]     # or: make bench REFIL=PATH

The comparisons with peers need their checkouts (`peer_refil.py`, `peer_loop.py`) and are left out otherwise; that of
the learners is on full synthetic episodes and on real battles (`battles` in the name of a figure). Left out always:
what measures no speed (fairness, learning, the matrix game, soaks, mutations, StarCraft II parity), and
`peer_battle.py`, which needs installations of the peers. Each script ends with one line of JSON, which is what the
table is made of. If one fails, the table says so and has the others' figures; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import torch

from mipi_pl.storage import provenance, run_folder

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results.md"
LEFT_OUT = {
    "battle_fairness.py",
    "bench.py",
    "learning.py",
    "matrix_game.py",
    "mutations.py",
    "peer_battle.py",
    "soak_memory.py",
    "soak_resume.py",
    "starcraft2_parity.py",
}
THREADED = {"env_steps.py", "learner_updates.py", "peer_refil.py", "peer_loop.py"}


def planned(options: argparse.Namespace) -> dict[str, list[str]]:
    """Script and its arguments."""
    chosen: dict[str, list[str]] = {}
    for path in sorted(FOLDER.glob("*.py")):
        more = ["--threads", str(options.threads)] if path.name in THREADED else []
        if path.name == "peer_refil.py":
            more += ["--repo", str(options.refil)]
        if path.name == "peer_loop.py":
            more += ["--repo", str(options.refil), "--smaclite", str(options.smaclite)]
        if path.name not in LEFT_OUT and "None" not in more:
            chosen[path.name] = more
    return chosen


def run(script: str, arguments: list[str]) -> dict[str, Any]:
    """Run it, show what it prints, return its JSON; empty if it had nothing to report.

    Raises:
        CalledProcessError: if it fails.
    """
    last = ""
    command = [sys.executable, str(FOLDER / script), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    found: dict[str, Any] = json.loads(last) if last.startswith("{") else {}
    return found


def figures(found: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number with its name; groups within groups are joined by a dot."""
    for name, value in found.items():
        if isinstance(value, dict):
            yield from figures(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def processor() -> str:
    """Its name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def heading(options: argparse.Namespace) -> str:
    """When, which code, which machine, which command; where a checkout lies is nobody's business."""
    commit = (provenance.commit() or "an installed package")[:10]
    machine = f"{os.cpu_count()} cores ({processor()}), {options.threads} threads"
    command = provenance.command()
    for place in {str(path) for path in (options.refil, options.smaclite) if path}:
        command = command.replace(place, "PATH")
    return f"## {date.today()}, commit {commit}\n\n{machine}, PyTorch {torch.__version__}, `{command}`."


def main() -> None:
    """Measure, print the table, append it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--refil", type=Path, help="a checkout of REFIL, to measure beside it")
    parser.add_argument("--smaclite", type=Path, help="a checkout of SMAClite, to measure the whole loop too")
    parser.add_argument("--only", nargs="+", help="scripts to run, such as learner_updates.py")
    options = parser.parse_args()
    rows, failed = [], False
    for script, arguments in planned(options).items():
        if not options.only or script in options.only:
            print(f"== {script} {' '.join(arguments)}", flush=True)
            try:
                rows += [f"| {script} | {name} | {value:,} |" for name, value in figures(run(script, arguments))]
            except subprocess.CalledProcessError as error:
                rows, failed = [*rows, f"| {script} | failed, exit code | {error.returncode} |"], True
    if not rows:
        sys.exit("nothing was measured, so nothing was appended")
    table = "\n".join([heading(options), "", "| script | figure | value |", "|---|---|---:|", *rows])
    with RESULTS.open("a", encoding="utf-8") as results:
        results.write(f"\n{table}\n")
    print(f"\n{table}\n\nappended to {run_folder.shown(RESULTS)}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
