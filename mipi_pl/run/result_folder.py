"""Folders for the results of a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mipi_pl.storage import run_folder, shipped
from mipi_pl.utils.errors import UserError


@contextmanager
def result_folder(path: Path, kind: str, output_dir: str | None) -> Iterator[Path]:
    """Create a folder named by the present time, in `output_dir` or in the folder `kind` of the checkpoint's run.

    Enter it before anything is played, so that a folder that cannot be created is told at once. If the block ends with
    an exception, the folder is removed if it is empty, with the parents that were created for it.

    Raises:
        UserError: if the folder cannot be created.
    """
    parent = Path(os.path.expanduser(output_dir)) if output_dir else output_parent(path) / kind
    try:
        folder, root = run_folder.new_folder_and_root(parent)
    except OSError as error:
        raise not_writable(parent, error) from error
    try:
        yield folder
    except BaseException:
        run_folder.discard_if_empty(folder, root)
        raise


def not_writable(folder: Path, error: OSError) -> UserError:
    """Return the error for a folder of results that cannot be written to."""
    return UserError(f"cannot write to {folder} ({error.strerror or error}); name another folder: output_dir=...")


def output_parent(path: Path) -> Path:
    """Return the folder for files derived from a checkpoint.

    This is the run folder of a checkpoint, the folder outputs/<name> of a shipped policy, and the file's own folder
    otherwise.
    """
    path = path.resolve()
    if shipped.is_shipped(path):
        return Path("outputs") / path.stem
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent
