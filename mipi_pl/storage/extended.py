"""The budget of a run that is trained longer than its config says, in a file of its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from mipi_pl.storage import checksums
from mipi_pl.storage.files import DamagedError
from mipi_pl.storage.run_folder import EXTENDED

TOTAL_FRAMES = "total_frames"
"""Key of the budget, in the config and in the file."""

C = TypeVar("C", bound=Mapping[str, Any])


def record_total(folder: Path, total: int) -> None:
    """Record the budget of the run in `folder`.

    Raises:
        OSError: if the file cannot be written.
    """
    checksums.write_checked(folder / EXTENDED, {TOTAL_FRAMES: total})


def recorded_total(folder: Path) -> int | None:
    """Return the recorded budget of the run in `folder`; None if it was not extended.

    Raises:
        DamagedError: if the file is damaged.
    """
    path = folder / EXTENDED
    if not path.exists():
        return None
    try:
        return int(checksums.read_checked(path)[TOTAL_FRAMES])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{path} is damaged: it has no number of frames") from error


def lengthened(config: C, total: int) -> C:
    """Return the config with another budget, in every entry ``total_frames`` that had the former one."""
    former = config.get(TOTAL_FRAMES)

    def change(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                key: total if key == TOTAL_FRAMES and value == former else change(value) for key, value in node.items()
            }
        return [change(value) for value in node] if isinstance(node, list) else node

    longer: C = change(config)
    return longer
