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
    """Return command, commit, versions and machine, for results.json and the checkpoint."""
    return {"command": command(), "commit": commit(), "versions": versions(), "machine": machine()}


def command() -> str:
    """Return the command line of this process, quoted for a shell."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def commit() -> str | None:
    """Return the commit of the source checkout; None for an installed package or if git fails.

    The suffix ``-dirty`` marks uncommitted changes to tracked files.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        return _git(root, "rev-parse", "HEAD") + ("-dirty" if _git(root, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    result = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            result[package] = version(package)
        except PackageNotFoundError:
            result[package] = "not installed"
    return result


def machine() -> dict[str, str | int]:
    """Return operating system and number of processor cores; a seed reproduces its numbers only on an equal machine."""
    return {"system": platform.platform(), "processor_cores": os.cpu_count() or 0}


def _git(root: Path, *arguments: str) -> str:
    completed = subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True)
    return completed.stdout.strip()
