"""Locates the packages of the extra `sc2`, the game's folder, its version and its maps. Nothing here starts the game.

Each missing part raises `GameNotFoundError` with a message that says where to get it.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mipi_pl.envs.starcraft2 import protobuf
from mipi_pl.utils.extras import how_to_install

DOWNLOADS = "https://github.com/Blizzard/s2client-proto#downloads"
MAPS = {
    "empty_passive": "https://github.com/shariqiqbal2810/REFIL, in src/envs/starcraft2/maps/SMAC_Maps",
}
"""Download location by map name. Maps that are not listed are SMAC's, from `SMAC_MAPS`."""
SMAC_MAPS = "https://github.com/oxwhirl/smac/releases"
_EXECUTABLES = {"Linux": "SC2_x64", "Windows": "SC2_x64.exe", "Darwin": "SC2.app/Contents/MacOS/SC2"}
_DEFAULTS = {
    "Linux": "~/StarCraftII",
    "Windows": "C:/Program Files (x86)/StarCraft II",
    "Darwin": "/Applications/StarCraft II",
}


class GameNotFoundError(ValueError):
    """The game, its map, its version or the extra `sc2` is missing. The message says where to get it."""


@dataclass(frozen=True)
class Installation:
    """An installed version of the game.

    Attributes:
        folder: folder of the game.
        build: build number of the version.
        executable: executable of the build.
    """

    folder: Path
    build: int
    executable: Path

    @property
    def version(self) -> str:
        """Version and build, such as ``4.10 (Base75689)``."""
        names = [name for name, build in known_builds().items() if build == self.build]
        return f"{names[0]} (Base{self.build})" if names else f"Base{self.build}"

    def map_file(self, name: str) -> Path:
        """Return the file of a map from anywhere below the folder Maps. Case does not matter.

        Raises:
            GameNotFoundError: if the map is not there.
        """
        maps = self.folder / "Maps"
        for path in sorted(maps.rglob("*")) if maps.is_dir() else ():
            if path.name.lower() == f"{name}.sc2map".lower():
                return path
        raise GameNotFoundError(
            f"no map {name}.SC2Map below {maps}: get it from {MAPS.get(name, SMAC_MAPS)} and copy it to "
            f"{maps / 'SMAC_Maps'}"
        )


def check_extra() -> None:
    """Check that the packages of the extra `sc2` are installed.

    Raises:
        GameNotFoundError: if one is missing.
    """
    missing = [name for name in ("pysc2", "s2clientprotocol", "websocket") if find_spec(name) is None]
    if missing:
        raise GameNotFoundError(
            f"StarCraft II needs the extra sc2 ({', '.join(missing)} missing): {how_to_install('sc2')}"
        )


def game_folder() -> Path:
    """Return the folder SC2PATH, or the default folder of the platform if SC2PATH is not set.

    Raises:
        GameNotFoundError: if the folder does not hold the game.
    """
    sc2path = os.environ.get("SC2PATH")
    folder = Path(sc2path or _DEFAULTS.get(platform.system(), "~/StarCraftII")).expanduser()
    if not (folder / "Versions").is_dir():
        where = f"SC2PATH is {sc2path}" if sc2path else f"SC2PATH is not set and the game is not in {folder}"
        raise GameNotFoundError(
            f"no StarCraft II found: {where}; set SC2PATH to the game's folder, the one that holds Versions/ and Maps/ "
            f"(packages for Linux: {DOWNLOADS})"
        )
    return folder


def find_game(version: str | None = None) -> Installation:
    """Return the installed game of a version.

    Args:
        version: version such as ``4.10`` or ``Base75689``; None selects the newest installed one.

    Raises:
        GameNotFoundError: if the version is not installed.
    """
    folder = game_folder()
    name = _EXECUTABLES.get(platform.system(), _EXECUTABLES["Linux"])
    executables: dict[int, Path] = {}
    for path in (folder / "Versions").iterdir():
        match = re.fullmatch(r"Base(\d+)", path.name)
        if match and (path / name).is_file():
            executables[int(match[1])] = path / name
    versions = [Installation(folder, build, executables[build]).version for build in sorted(executables)]
    installed = ", ".join(versions) or "none"
    if version is None and executables:
        return Installation(folder, max(executables), executables[max(executables)])
    build = _build_of(version)
    if build not in executables:
        raise GameNotFoundError(
            f"wrong version: {'StarCraft II ' + str(version) if version else 'a version of StarCraft II'} is not "
            f"installed in {folder}/Versions (installed: {installed}); get it from {DOWNLOADS}, or set env.version to "
            "an installed one"
        )
    return Installation(folder, build, executables[build])


def known_builds() -> dict[str, int]:
    """Return the build number of each version that pysc2 knows, such as 75689 for ``4.10.0``; empty without pysc2."""
    if find_spec("pysc2") is None:
        return {}
    protobuf.enable()
    from pysc2.run_configs import lib

    return {name: version.build_version for name, version in lib.VERSIONS.items()}


def _build_of(version: str | None) -> int:
    match = re.fullmatch(r"(?:Base)?(\d{5,})", version or "")
    builds = known_builds()
    return int(match[1]) if match else builds.get(version or "", builds.get(f"{version}.0", -1))
