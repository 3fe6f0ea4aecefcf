"""The command that installs an extra of this program, as it works in this installation."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra, such as ``sc2``.

    pip finds the name of an installed package without an index. The source folder, used without an installation or with
    one from before the extra existed, is installed by its path.
    """
    try:
        known = metadata.metadata("mipi-pl").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        known = []
    if extra not in known and (_ROOT / "pyproject.toml").is_file():
        return f"pip install -e '{_ROOT}[{extra}]'"
    return f"pip install 'mipi-pl[{extra}]'"
