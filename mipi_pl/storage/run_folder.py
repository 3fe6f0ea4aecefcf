"""The folder of a run: its name, the names of the files in it, and the note that a failed run leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from mipi_pl.storage import lock
from mipi_pl.storage.files import replacing

CONFIG, EVALUATIONS, RESULTS = "config.yaml", "evaluations.csv", "results.json"
"""Of a run folder: what was to be done, how it went, how it ended; a run with the last is finished."""
PROVENANCE = "provenance.json"
"""Written when a run begins, so that it is known of a run that does not end."""
FAILURE = "failure.txt"
"""Why a run failed; it goes when the run is resumed."""


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
    """Remove an empty folder and the empty ones above it, up to and with `root`; the file of a lock does not count."""
    with suppress(OSError):
        if [found.name for found in folder.iterdir()] == [lock.FILE]:
            (folder / lock.FILE).unlink()
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


def shown(path: Path) -> str:
    """A path as the terminal shows it: relative to the working folder where that is shorter."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)
