"""Runs the program in odd environments: variables, closed streams, folders that cannot be used, optimised Python.

    python benchmarks/odd_environments.py            # all rows, a few minutes
    python benchmarks/odd_environments.py --only closed

Each row starts `mipi` in a process of its own and passes if it ends with the expected exit code and no traceback.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRAIN = (
    "train experiment=matrix_game debug=tiny total_frames=40 held_out.baselines=[] threads=1 output_dir='{root}/out'"
)
ROWS = {
    # name: (variables, shell command, exit code); {mipi}, {train} and {root} are filled in
    "MPLBACKEND of a notebook": ("MPLBACKEND=module://matplotlib_inline.backend_inline", "{mipi} {train}", 0),
    "MPLBACKEND unknown": ("MPLBACKEND=bogus", "{mipi} {train}", 0),
    "WANDB_MODE unknown": ("WANDB_MODE=bogus", "{mipi} {train} logger=wandb", 2),
    "WANDB_MODE unknown, not used": ("WANDB_MODE=bogus", "{mipi} {train}", 0),
    "python -OO": ("PYTHONOPTIMIZE=2", "{mipi} {train}", 2),
    "python -OO, help": ("PYTHONOPTIMIZE=2", "{mipi} theory --help", 0),
    "python -O": ("PYTHONOPTIMIZE=1", "{mipi} {train}", 0),
    "closed stdout": ("", "{mipi} {train} >&-", 0),
    "closed streams": ("", "{mipi} {train} <&- >&- 2>&-", 0),
    "pipe that closes": ("", "{mipi} {train} | head -1; exit ${{PIPESTATUS[0]}}", 0),
    "pipe that closes, no training": ("", "{mipi} train --cfg job | head -1; exit ${{PIPESTATUS[0]}}", 1),
    "full device": ("", "{mipi} {train} >/dev/full", 0),
    "full device, no training": ("", "{mipi} --help >/dev/full", 1),
    "ASCII": ("LC_ALL=C PYTHONUTF8=0 PYTHONIOENCODING=ascii", "{mipi} {train} \"output_dir='{root}/ü'\"", 0),
    "no columns": ("COLUMNS=0 LINES=0 TERM=dumb NO_COLOR=1", "{mipi} {train}", 0),
    "one column": ("COLUMNS=1", "{mipi} theory --help", 0),
    "OMP_NUM_THREADS=0": ("OMP_NUM_THREADS=0", "{mipi} {train} threads=null", 0),
    "OMP_NUM_THREADS=abc": ("OMP_NUM_THREADS=abc", "{mipi} {train} threads=null", 0),
    "more threads than numba's": ("NUMBA_NUM_THREADS=1", "{mipi} {train} threads=2", 0),
    "NUMBA_NUM_THREADS=abc": ("NUMBA_NUM_THREADS=abc", "{mipi} {train}", 2),
    "NUMBA_NUM_THREADS=0": ("NUMBA_NUM_THREADS=0", "{mipi} {train}", 2),
    "numba's cache nowhere": ("NUMBA_CACHE_LOCATOR_CLASSES=UserProvidedCacheLocator", "{mipi} {train}", 0),
    "numba without compilation": ("NUMBA_DISABLE_JIT=1", "{mipi} {train}", 0),
    "HYDRA_FULL_ERROR": ("HYDRA_FULL_ERROR=1", "{mipi} {train} algorithm.nope=3", 2),
    "TMPDIR missing": ("TMPDIR=/nonexistent/x", "{mipi} {train}", 0),
    "TMPDIR missing, memmap": ("TMPDIR=/nonexistent/x", "{mipi} {train} datamodule.storage=memmap", None),
    "HOME missing": ("HOME=/nonexistent", "{mipi} {train} logger=[csv,wandb]", 0),
    "HOME unset": ("", "unset HOME; {mipi} {train}", 0),
    "deleted folder": ("", "mkdir {root}/gone; cd {root}/gone; rmdir {root}/gone; {mipi} {train}", 2),
    "read-only folder": ("", "cd /proc; {mipi} {train} output_dir=out", 2),
    "umask 0777": ("", "umask 0777; {mipi} {train}", None),
    "CUDA_VISIBLE_DEVICES=abc": ("CUDA_VISIBLE_DEVICES=abc", "{mipi} {train}", 0),
    "warnings are errors": ("PYTHONWARNINGS=error", "{mipi} --help", 0),
}  # fmt: skip


def run(name: str) -> tuple[bool, str]:
    """Return whether a row passes, and its line."""
    variables, command, expected = ROWS[name]
    given = dict(pair.split("=", 1) for pair in variables.split())
    with tempfile.TemporaryDirectory() as root:
        filled = command.format(mipi=f"{sys.executable} -m mipi_pl", train=TRAIN.format(root=root), root=root)
        start_s = time.monotonic()
        process = subprocess.run(
            ["bash", "-c", filled],
            env={**os.environ, "PYTHONPATH": str(ROOT), **given},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    wrong = "Traceback" in process.stderr + process.stdout
    passed = not wrong and process.returncode in ((0, 1, 2) if expected is None else (expected,))
    said = [line for line in process.stderr.splitlines() if line.startswith("mipi")] or process.stderr.splitlines()[-1:]
    took = f"{time.monotonic() - start_s:.0f} s"
    return passed, f"{'ok  ' if passed else 'FAIL'} {name}: exit code {process.returncode}, {took}: {' / '.join(said)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="run only the rows whose name contains this text")
    options = parser.parse_args()
    failed = 0
    for name in ROWS:
        if options.only in name:
            passed, line = run(name)
            failed += not passed
            print(line, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
