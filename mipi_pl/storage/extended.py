"""The budget of a run that is trained longer than its config says, in a file of its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mipi_pl.storage import checksums
from mipi_pl.storage.files import DamagedError
from mipi_pl.storage.run_folder import EXTENDED

TOTAL_FRAMES = "total_frames"
"""Key of the budget, in the config and in the file."""
_FORMER = "former"

C = TypeVar("C", bound=Mapping[str, Any])


@dataclass(frozen=True)
class Extension:
    """The budget of a run that is trained longer.

    Attributes:
        total: the present budget in environment steps.
        former: the budgets before it, the first one first; empty in files of earlier versions.
    """

    total: int
    former: tuple[int, ...] = ()


def record(folder: Path, extension: Extension) -> None:
    """Record the budget of the run in `folder`.

    Raises:
        OSError: if the file cannot be written.
    """
    content = {TOTAL_FRAMES: extension.total, _FORMER: list(extension.former)}
    checksums.write_checked(folder / EXTENDED, content)


def recorded(folder: Path) -> Extension | None:
    """Return the recorded budget of the run in `folder`; None if it was not extended.

    Raises:
        DamagedError: if the file is damaged.
    """
    path = folder / EXTENDED
    if not path.exists():
        return None
    try:
        content = checksums.read_checked(path)
        return Extension(int(content[TOTAL_FRAMES]), tuple(int(total) for total in content.get(_FORMER, ())))
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
