"""Runs the speed measurements of this folder and appends a table of their figures to benchmarks/results.md.

    python benchmarks/bench.py [--threads 2] [--refil PATH [--smaclite PATH]] [--jaxmarl PATH --jaxmarl-python PYTHON]
    make bench REFIL=PATH                                                          # the same

The comparisons with peers (`peer_refil.py`, `peer_loop.py`, `peer_jaxmarl.py`) run only if their checkouts are given.
The comparison of the learners uses full synthetic episodes and real battles (`battles` in the name of a figure). The
other scripts of this folder do not measure speed, or need an installation of a peer beside ours (`peer_battle.py`).

The table consists of the line of JSON with which each script ends. Figures with "ratio" in their name compare two
sides of one run, so they hold on a noisy machine. Those that fell by more than a fifth since the file's last value are
listed below the table. If a script fails, the table has a row for the failure and the figures of the others, and the
exit code is 1.
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
from mipi_pl.utils.cores import usable_cores

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results.md"
SCRIPTS = (
    "collection.py",
    "env_steps.py",
    "growth.py",
    "learner_updates.py",
    "loop_profile.py",
    "peer_jaxmarl.py",
    "peer_loop.py",
    "peer_refil.py",
    "scaling.py",
)
FAILED = "failed, exit code"
LARGEST_FALL = 0.2
THREADED = {"env_steps.py", "learner_updates.py", "peer_refil.py", "peer_loop.py", "peer_jaxmarl.py"}


def planned(options: argparse.Namespace) -> dict[str, list[str]]:
    """Returns the scripts to run and the arguments of each; comparisons whose checkout is not given are left out."""
    checkouts: dict[str, dict[str, object]] = {
        "peer_refil.py": {"--repo": options.refil},
        "peer_loop.py": {"--repo": options.refil, "--smaclite": options.smaclite},
        "peer_jaxmarl.py": {"--jaxmarl": options.jaxmarl, "--jaxmarl-python": options.jaxmarl_python},
    }
    chosen: dict[str, list[str]] = {}
    for script in SCRIPTS:
        needed = checkouts.get(script, {})
        if None not in needed.values():
            words = ["speed", "--output", os.devnull] if script == "peer_jaxmarl.py" else []
            words += ["--threads", str(options.threads)] if script in THREADED else []
            chosen[script] = [*words, *(str(word) for pair in needed.items() for word in pair)]
    return chosen


def run(script: str, arguments: list[str]) -> dict[str, Any]:
    """Run a script, echo its output, and return the JSON of its last line; empty if that is not JSON.

    Raises:
        CalledProcessError: if the script fails.
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
    results: dict[str, Any] = json.loads(last) if last.startswith("{") else {}
    return results


def figures(results: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number with its name; the names of nested groups are joined by dots."""
    for name, value in results.items():
        if isinstance(value, dict):
            yield from figures(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def last_figures(results: str) -> dict[tuple[str, str], float]:
    """Returns the last value of each script's figures in the tables of results.md."""
    rows = (line.strip("| ").split(" | ") for line in results.splitlines() if line.startswith("|") and ".py |" in line)
    return {(row[0], row[1]): float(row[2].replace(",", "")) for row in rows if len(row) == 3 and row[1] != FAILED}


def fallen(measured: dict[tuple[str, str], float], before: dict[tuple[str, str], float]) -> list[str]:
    """Returns a line for each ratio that fell by more than a fifth."""
    return [
        f"* {script}, {figure}: {value:,}, before {before[script, figure]:,}"
        for (script, figure), value in measured.items()
        if "ratio" in figure and value < (1 - LARGEST_FALL) * before.get((script, figure), value)
    ]


def processor() -> str:
    """Returns the processor's model name, or its architecture if the system does not report a name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def heading(options: argparse.Namespace) -> str:
    """Returns date, commit, machine and command as Markdown; PATH replaces the paths of the peers' checkouts."""
    commit = (provenance.commit() or "an installed package")[:10]
    machine = f"{usable_cores()} cores ({processor()}), {options.threads} threads"
    command = provenance.command()
    peers = (options.refil, options.smaclite, options.jaxmarl)
    for place in sorted((str(path) for path in peers if path), key=len, reverse=True):  # one may lie in another
        command = command.replace(place, "PATH")
    return f"## {date.today()}, commit {commit}\n\n{machine}, PyTorch {torch.__version__}, `{command}`."


def main() -> None:
    """Run the measurements, print the table and append it to the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="processor threads (default: all cores)")
    parser.add_argument("--refil", type=Path, help="a checkout of REFIL, to compare with its learner")
    parser.add_argument("--smaclite", type=Path, help="a checkout of SMAClite, to compare the whole loop too")
    parser.add_argument("--jaxmarl", type=Path, help="a checkout of JaxMARL, to compare with its IPPO and MAPPO")
    parser.add_argument("--jaxmarl-python", help="a Python with the requirements of JaxMARL")
    parser.add_argument("--only", nargs="+", help="run only these scripts, such as learner_updates.py")
    options = parser.parse_args()
    if bool(options.jaxmarl) != bool(options.jaxmarl_python):
        parser.error("--jaxmarl and --jaxmarl-python need each other")
    if options.smaclite and not options.refil:
        parser.error("--smaclite needs --refil")
    measured: dict[tuple[str, str], float] = {}
    failed = False
    for script, arguments in planned(options).items():
        if not options.only or script in options.only:
            print(f"== {script} {' '.join(arguments)}", flush=True)
            try:
                measured |= {(script, name): value for name, value in figures(run(script, arguments))}
            except subprocess.CalledProcessError as error:
                measured[script, FAILED], failed = error.returncode, True
    if not measured:
        sys.exit(f"nothing was measured and nothing appended; scripts that can run: {', '.join(planned(options))}")
    rows = [f"| {script} | {name} | {value:,} |" for (script, name), value in measured.items()]
    table = "\n".join([heading(options), "", "| script | figure | value |", "|---|---|---:|", *rows])
    falls = fallen(measured, last_figures(RESULTS.read_text(encoding="utf-8")))
    if falls:
        table += "\n\nFell by more than a fifth since the last table:\n\n" + "\n".join(falls)
    with RESULTS.open("a", encoding="utf-8") as results:
        results.write(f"\n{table}\n")
    print(f"\n{table}\n\nappended to {run_folder.shown(RESULTS)}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
