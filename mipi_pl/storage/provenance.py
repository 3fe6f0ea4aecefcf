"""Provenance of a result: command, commit, package versions and machine."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("mipi-pl", "torch", "torchrl", "tensordict", "lightning", "hydra-core", "numba", "numpy")
COMMIT = "_commit.txt"
"""File of a built package with the commit of its sources; setup.py writes it."""
_ROOT = Path(__file__).resolve().parents[2]


def provenance() -> dict[str, Any]:
    """Return command, commit, versions and machine, for results.json and the checkpoint."""
    return {"command": command(), "commit": commit(), "versions": versions(), "machine": machine()}


def command() -> str:
    """Return the command line of this process, quoted for a shell."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def commit() -> str | None:
    """Return the commit of the source checkout, or that from which an installed package was built; None if unknown.

    The suffix ``-dirty`` marks uncommitted changes to tracked files.
    """
    if (_ROOT / ".git").exists():
        try:
            changed = _git(_ROOT, "status", "--porcelain", "-uno")
            return _git(_ROOT, "rev-parse", "HEAD") + ("-dirty" if changed else "")
        except (OSError, subprocess.CalledProcessError):
            return None
    built_from = _ROOT / "mipi_pl" / COMMIT
    return (built_from.read_text(encoding="utf-8").strip() or None) if built_from.is_file() else None


def version(package: str = "mipi-pl") -> str:
    """Return the version of a package, or ``not installed``."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}


def machine() -> dict[str, str | int]:
    """Return operating system and number of processor cores; a seed reproduces its numbers only on an equal machine."""
    return {"system": platform.platform(), "processor_cores": os.cpu_count() or 0}


def _git(root: Path, *arguments: str) -> str:
    completed = subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True)
    return completed.stdout.strip()
