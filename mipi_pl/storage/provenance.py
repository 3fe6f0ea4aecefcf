"""Provenance of a result: command, commit, package versions and machine."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("mipi-pl", "torch", "torchrl", "tensordict", "lightning", "hydra-core", "numba", "numpy")


def provenance() -> dict[str, Any]:
    """Command, commit, versions and machine, for results.json and the checkpoint."""
    return {"command": command(), "commit": commit(), "versions": versions(), "machine": machine()}


def command() -> str:
    """The command line, ready to be pasted."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def commit() -> str | None:
    """The commit of the source checkout, with ``-dirty`` if it was changed; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        return _git(root, "rev-parse", "HEAD") + ("-dirty" if _git(root, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, str | int]:
    """What it ran on; the same seed gives equal numbers on equal machines only."""
    return {"system": platform.platform(), "processor_cores": os.cpu_count() or 0}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
