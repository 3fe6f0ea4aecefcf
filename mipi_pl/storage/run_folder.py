"""The folder of a run: its name, its files, and the error message that a failed run leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from mipi_pl.storage import lock
from mipi_pl.storage.files import replacing

CONFIG, EVALUATIONS, RESULTS = "config.yaml", "evaluations.csv", "results.json"
"""Files of a run folder: resolved config, evaluations while learning, final results.

A run is finished if it has results.
"""
PROVENANCE = "provenance.json"
"""Command, commit, versions and machine; written when a run begins, for runs that do not finish."""
EXTENDED, EARLIER = "extended.json", "earlier"
"""A longer budget than that of the config, and the folder of the results before it was given."""
INITIAL = "initial"
"""Name, without its end, of the copy of the weights that a run begins with, which a resumed run reads again."""
FAILURE = "failure.txt"
"""Error message of a failed run; removed when the run is resumed."""


def new_folder(parent: Path) -> Path:
    """Create a folder named after the current time in `parent`, with a number appended if the name is taken.

    Raises:
        OSError: if the folder cannot be created.
    """
    name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir()  # atomic: fails if another run has just taken the name
        except FileNotFoundError:
            continue  # another evaluation that was stopped has just removed the parent, which was empty
        except FileExistsError:
            number += 1
        else:
            return folder


def new_folder_and_root(parent: Path) -> tuple[Path, Path]:
    """Create a folder like `new_folder`; return it and the outermost folder that was created, for `discard_if_empty`.

    Raises:
        OSError: if the folder cannot be created.
    """
    absent = [path for path in (parent, *parent.parents) if not path.exists()]
    folder = new_folder(parent)
    return folder, absent[-1] if absent else folder


def discard_if_empty(folder: Path, root: Path) -> None:
    """Remove an empty folder and its empty parents up to and including `root`, which is `folder` or contains it.

    A lock file and the copy of initial weights alone count as empty: a run that did not begin has no more.
    """
    with suppress(OSError):
        files = list(folder.iterdir())
        if all(file.name == lock.FILE or file.stem == INITIAL for file in files):
            for file in files:
                file.unlink()
    for candidate in (folder, *folder.parents):
        try:
            candidate.rmdir()
        except OSError:
            return
        if candidate == root:
            return


def link_latest(root: Path, folder: Path) -> None:
    """Point the link ``latest`` in `root` to `folder`.

    The link is replaced by renaming, so it always has a target. Prints a note if it cannot be replaced.
    """
    link, fresh = root / "latest", root / f".latest-{os.getpid()}"
    if link.exists() and not link.is_symlink():
        print(f"note: {link} was not updated (it is not a symbolic link)")
        return
    try:
        fresh.symlink_to(os.path.relpath(folder, root), target_is_directory=True)
        os.replace(fresh, link)
    except OSError as error:  # such as on a file system without symbolic links
        fresh.unlink(missing_ok=True)
        print(f"note: {link} was not updated ({error.strerror})")


@contextmanager
def failure_noted(folder: Path) -> Iterator[None]:
    """Write the message of an exception to `FAILURE` in the run folder, if the run has a config there.

    Removes the `FAILURE` of an earlier attempt first. Interruptions such as Ctrl+C are not failures.
    """
    with suppress(OSError):  # if the folder is not writable, code that must write there raises the error
        (folder / FAILURE).unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        if (folder / CONFIG).exists():
            with suppress(OSError), replacing(folder / FAILURE) as unfinished:
                text = " ".join(f"{error}".split()) or type(error).__name__
                unfinished.write_text(f"{text}\n", encoding="utf-8")
        raise


def shown(path: Path) -> str:
    """Return a path for messages: relative to the working folder if it is inside, else unchanged."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)
