"""Where a run is written and what it says of itself: folders, versions, commit, command."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mipi_pl.files import replacing

CONFIG, EVALUATIONS, RESULTS = "config.yaml", "evaluations.csv", "results.json"
"""Of a run folder: what was to be done, how it went, how it ended; a run with the last is finished."""
PROVENANCE = "provenance.json"
"""Written when a run begins, so that it is known of a run that does not end."""
FAILURE = "failure.txt"
"""Why a run failed; it goes when the run is resumed."""

PACKAGES = ("mipi-pl", "torch", "torchrl", "tensordict", "lightning", "hydra-core", "numba", "numpy")


def new_folder(parent: Path) -> Path:
    """Make a folder named by the present time below `parent`; a number is added where the name is taken.

    Raises:
        OSError: if nothing can be written there.
    """
    parent.mkdir(parents=True, exist_ok=True)
    name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()  # fails when another run was quicker, which makes the choice safe
        except FileExistsError:
            number += 1
        else:
            return folder


def discard_if_empty(folder: Path, root: Path) -> None:
    """Remove an empty folder and the empty ones above it, up to and with `root`."""
    for candidate in (folder, *folder.parents):
        try:
            candidate.rmdir()
        except OSError:
            return
        if candidate == root:
            return


def link_latest(root: Path, folder: Path) -> None:
    """Let ``latest`` in `root` lead to `folder`; done by renaming, so that it always leads somewhere."""
    link, fresh = root / "latest", root / f".latest-{os.getpid()}"
    if link.exists() and not link.is_symlink():
        print(f"note: {link} was not updated (it is not a link)")
        return
    try:
        fresh.symlink_to(os.path.relpath(folder, root), target_is_directory=True)
        os.replace(fresh, link)
    except OSError as error:  # a file system without links, or a folder of the user's with this name
        fresh.unlink(missing_ok=True)
        print(f"note: {link} was not updated ({error.strerror})")


def provenance() -> dict[str, Any]:
    """Command, commit, versions and machine, for results.json and the checkpoint."""
    return {"command": command(), "commit": commit(), "versions": versions(), "machine": machine()}


def command() -> str:
    """The command line, ready to be pasted."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def commit() -> str | None:
    """The commit of the source checkout, with ``-dirty`` if it was changed; None for an installed package."""
    root = Path(__file__).resolve().parent.parent
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


@contextmanager
def failure_noted(folder: Path) -> Iterator[None]:
    """Leave `FAILURE` in the folder of a run that had begun and fails; being interrupted is no failure."""
    with suppress(OSError):  # a folder that cannot be written to is refused by those who must
        (folder / FAILURE).unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        if (folder / CONFIG).exists():
            with suppress(OSError), replacing(folder / FAILURE) as unfinished:
                text = " ".join(f"{error}".split()) or type(error).__name__
                unfinished.write_text(f"{text}\n", encoding="utf-8")
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Indented; numbers that JSON does not know are refused."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def shown(path: Path) -> str:
    """A path as the terminal shows it: relative to the working folder where that is shorter."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
