"""Checksums of the readable files of a run, stored in its results.json or in the file itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mipi_pl.storage.files import DamagedError, sha256_of, write_json
from mipi_pl.storage.run_folder import CONFIG, EVALUATIONS, RESULTS

KEY = "sha256"
"""Key of results.json: checksums by file name; that of results.json itself covers all its other keys."""

_COVERED = (CONFIG, EVALUATIONS, "metrics.csv", "results.csv")


def write_results(folder: Path, content: Mapping[str, Any]) -> None:
    """Write results.json with the checksums of its content and of the other files of the run.

    Raises:
        OSError: if a file cannot be read or written.
    """
    files = {name: sha256_of(folder / name) for name in _COVERED if (folder / name).is_file()}
    write_json(folder / RESULTS, {**content, KEY: {RESULTS: _digest(content), **files}})


def write_checked(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically, with the checksum of its content.

    Raises:
        OSError: if the file cannot be written.
    """
    write_json(path, {**content, KEY: _digest(content)})


def read_checked(path: Path) -> dict[str, Any]:
    """Read what `write_checked` wrote.

    Raises:
        DamagedError: if the file cannot be read or its checksum differs.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{path} cannot be read ({error})") from error
    if not isinstance(content, dict) or content.pop(KEY, None) != _digest(content):
        raise DamagedError(f"{path} is damaged: its checksum differs from the one it carries")
    return content


def differing(folder: Path, results: Mapping[str, Any]) -> list[str]:
    """Return the names of files that are not as `write_results` recorded them; empty for older runs.

    Args:
        folder: run folder.
        results: content of its results.json.

    Raises:
        OSError: if a file cannot be read.
    """
    recorded = results.get(KEY)
    if recorded is None:
        return []
    if not isinstance(recorded, dict):
        return [RESULTS]
    content = {name: value for name, value in results.items() if name != KEY}
    others = [name for name in _COVERED if name in recorded and (folder / name).is_file()]
    present = {RESULTS: _digest(content), **{name: sha256_of(folder / name) for name in others}}
    return [name for name, sha256 in present.items() if recorded.get(name) != sha256]


def _digest(content: Mapping[str, Any]) -> str:
    as_read = json.loads(json.dumps(content))  # tuples become lists, and keys become texts
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()
