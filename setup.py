"""Writes the commit of the sources into a built package; everything else is in pyproject.toml."""

from __future__ import annotations

import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
COMMIT = Path("mipi_pl", "_commit.txt")
"""mipi_pl.storage.provenance reads it."""


def commit() -> str:
    """Return the commit, with ``-dirty`` if tracked files are changed.

    A source distribution has no git; its commit is in the file.
    """
    if not (ROOT / ".git").exists():
        return (ROOT / COMMIT).read_text(encoding="utf-8") if (ROOT / COMMIT).is_file() else ""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def write_commit(folder: str) -> None:
    """Write the commit below a folder that contains the packages."""
    if known := commit():
        (Path(folder) / COMMIT).write_text(known, encoding="utf-8")


class BuildPy(build_py):
    """Builds the packages, with the commit."""

    def run(self) -> None:
        """Copy the modules, and write the commit; an editable installation asks git instead."""
        super().run()
        if not self.editable_mode:
            write_commit(self.build_lib)


class SDist(sdist):
    """Makes a source distribution, with the commit."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Copy the files, and write the commit."""
        super().make_release_tree(base_dir, files)
        write_commit(base_dir)


setup(cmdclass={"build_py": BuildPy, "sdist": SDist})
