"""Finding the game: the extra's packages, the folder, the version, the map. Each thing missing has one message.

Nothing here starts the game.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mipi_pl.envs.starcraft2 import protobuf

DOWNLOADS = "https://github.com/Blizzard/s2client-proto#downloads"
MAPS = {
    "empty_passive": "https://github.com/shariqiqbal2810/REFIL, in src/envs/starcraft2/maps/SMAC_Maps",
}
"""Where maps are to be had; those of SMAC are where `SMAC_MAPS` says."""
SMAC_MAPS = "https://github.com/oxwhirl/smac/releases"
_EXECUTABLES = {"Linux": "SC2_x64", "Windows": "SC2_x64.exe", "Darwin": "SC2.app/Contents/MacOS/SC2"}
_DEFAULTS = {
    "Linux": "~/StarCraftII",
    "Windows": "C:/Program Files (x86)/StarCraft II",
    "Darwin": "/Applications/StarCraft II",
}


class GameNotFoundError(ValueError):
    """The game, its map, its version or the extra `sc2` is missing; the message says which and where to get it."""


@dataclass(frozen=True)
class Installation:
    """An installed game.

    Attributes:
        folder: of the game.
        build: of the version to run.
        executable: of that build.
    """

    folder: Path
    build: int
    executable: Path

    @property
    def version(self) -> str:
        """Such as ``4.10 (Base75689)``."""
        names = [name for name, build in known_builds().items() if build == self.build]
        return f"{names[0]} (Base{self.build})" if names else f"Base{self.build}"

    def map_file(self, name: str) -> Path:
        """The file of a map, anywhere below the folder Maps; capitals do not matter.

        Raises:
            GameNotFoundError: if there is none.
        """
        maps = self.folder / "Maps"
        for path in sorted(maps.rglob("*")) if maps.is_dir() else ():
            if path.name.lower() == f"{name}.sc2map".lower():
                return path
        raise GameNotFoundError(
            f"no map {name}.SC2Map below {maps}: get it from {MAPS.get(name, SMAC_MAPS)} and put it into "
            f"{maps / 'SMAC_Maps'}"
        )


def check_extra() -> None:
    """See whether the extra `sc2` is installed.

    Raises:
        GameNotFoundError: if it is not.
    """
    missing = [name for name in ("pysc2", "s2clientprotocol", "websocket") if find_spec(name) is None]
    if missing:
        raise GameNotFoundError(
            f"the real game needs the extra sc2 ({', '.join(missing)} missing): pip install 'mipi-pl[sc2]'"
        )


def game_folder() -> Path:
    """SC2PATH, or where the game is installed by default.

    Raises:
        GameNotFoundError: if there is no game.
    """
    named = os.environ.get("SC2PATH")
    folder = Path(named or _DEFAULTS.get(platform.system(), "~/StarCraftII")).expanduser()
    if not (folder / "Versions").is_dir():
        where = f"SC2PATH is {named}" if named else f"SC2PATH is not set and {folder} is not it"
        raise GameNotFoundError(
            f"no StarCraft II found: {where}; set SC2PATH to the game's folder, the one that holds Versions/ and Maps/ "
            f"(packages for Linux: {DOWNLOADS})"
        )
    return folder


def find_game(version: str | None = None) -> Installation:
    """The installed game of this version.

    Args:
        version: such as ``4.10`` or ``Base75689``; None takes the newest that is installed.

    Raises:
        GameNotFoundError: if there is none.
    """
    folder = game_folder()
    name = _EXECUTABLES.get(platform.system(), _EXECUTABLES["Linux"])
    found: dict[int, Path] = {}
    for path in (folder / "Versions").iterdir():
        numbers = re.fullmatch(r"Base(\d+)", path.name)
        if numbers and (path / name).is_file():
            found[int(numbers[1])] = path / name
    installed = ", ".join(Installation(folder, build, found[build]).version for build in sorted(found)) or "none"
    if version is None and found:
        return Installation(folder, max(found), found[max(found)])
    build = _build_of(version)
    if build not in found:
        raise GameNotFoundError(
            f"wrong version: {'StarCraft II ' + str(version) if version else 'a version of StarCraft II'} is not "
            f"installed in {folder}/Versions (installed: {installed}); get it from {DOWNLOADS}, or choose another with "
            "env.version"
        )
    return Installation(folder, build, found[build])


def known_builds() -> dict[str, int]:
    """Build of each version that pysc2 knows, such as 75689 for ``4.10.0``; empty without the extra."""
    if find_spec("pysc2") is None:
        return {}
    protobuf.enable()
    from pysc2.run_configs import lib

    return {name: version.build_version for name, version in lib.VERSIONS.items()}


def _build_of(version: str | None) -> int:
    numbers = re.fullmatch(r"(?:Base)?(\d{5,})", version or "")
    known = known_builds()
    return int(numbers[1]) if numbers else known.get(version or "", known.get(f"{version}.0", -1))
