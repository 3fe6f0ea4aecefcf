"""The checks of `mipi doctor`: the state of each part of the installation, and how to fix it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from mipi_pl.commands.findings import Finding, State
from mipi_pl.envs.starcraft2.installation import MAPS, GameNotFoundError, check_extra, find_game
from mipi_pl.logging.wandb_access import check_mode, has_key
from mipi_pl.utils.cores import usable_cores

_MAIN_PACKAGES = ("torch", "torchrl", "lightning", "numba")
"""Packages whose versions are shown if all packages are as required."""

_START_TIMEOUT_S = 180
"""Maximum time for StarCraft II to start, in seconds."""


def examine(start_game: bool = False) -> list[Finding]:
    """Run all checks.

    Args:
        start_game: whether to start StarCraft II, if it is installed, and check that it answers.
    """
    torch = _importing("PyTorch", State.WRONG, _threads, _gpu)
    smac = _importing("SMAC", State.ABSENT, _smac)
    return [_python(), _packages(), *torch, _wandb(), *_starcraft(start_game), *smac]


def _importing(part: str, failed: State, *checks: Callable[[], Finding]) -> list[Finding]:
    """Run checks that import a package; if the import fails, return that, with the given state, as the only finding."""
    try:
        return [check() for check in checks]
    except (ImportError, OSError) as error:  # OSError: a system library is missing
        return [Finding(part, failed, f"cannot be imported ({error})")]


def _python() -> Finding:
    return Finding("Python", State.GOOD, f"{platform.python_version()} in {sys.prefix}")


def _packages() -> Finding:
    missing, wrong, installed, to_install = [], [], {}, []
    try:
        requirements = list(_requirements())
    except PackageNotFoundError:
        return Finding("packages", State.ABSENT, "the required versions are unknown: mipi-pl is not installed")
    for wanted in requirements:
        try:
            installed[wanted.name] = version(wanted.name)
        except PackageNotFoundError:
            missing.append(f"missing {wanted}")
            to_install.append(f"'{wanted.name}{wanted.specifier}'")
            continue
        if not wanted.specifier.contains(installed[wanted.name], prereleases=True):
            wrong.append(f"{wanted.name} {installed[wanted.name]} (required: {wanted.specifier})")
            to_install.append(f"'{wanted.name}{wanted.specifier}'")
    if missing or wrong:
        advice = f"pip install {' '.join(to_install)}"
        return Finding("packages", State.WRONG, "; ".join([*missing, *wrong]), advice)
    main = ", ".join(f"{name} {number}" for name, number in installed.items() if name in _MAIN_PACKAGES)
    return Finding("packages", State.GOOD, f"{len(installed)} installed as required: {main}")


def _requirements() -> Iterator[Requirement]:
    """Yield the requirements of every run from pyproject.toml, without the extras.

    Raises:
        PackageNotFoundError: if the program runs from its source folder without an installation.
    """
    for line in requires("mipi-pl") or ():
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            yield wanted


def _threads() -> Finding:
    import torch

    cores = usable_cores()
    used = torch.get_num_threads()
    advice = f"more threads than cores are slow: set threads={cores}" if used > cores else ""
    return Finding("threads", State.GOOD, f"{cores} cores, PyTorch uses {used}", advice)


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("GPU", State.GOOD, torch.cuda.get_device_name(0))
    return Finding("GPU", State.ABSENT, "none that PyTorch can use; everything runs on the CPU")


def _wandb() -> Finding:
    mode = os.environ.get("WANDB_MODE", "")
    try:
        check_mode()
    except ValueError as error:
        return Finding("wandb", State.ABSENT, str(error), "for logger=wandb, unset it or set it to one of these")
    if mode in ("offline", "disabled", "dryrun"):
        return Finding("wandb", State.GOOD, f"WANDB_MODE={mode}: nothing is sent")
    if has_key():
        return Finding("wandb", State.GOOD, "an API key is set (it was not tested)")
    return Finding("wandb", State.ABSENT, "no API key", "for logger=wandb, run wandb login or set WANDB_MODE=offline")


def _starcraft(start_game: bool) -> list[Finding]:
    """Check the game, then its map, then its start; each check needs the one before."""
    findings = [_unless_missing("StarCraft II", _game)]
    if findings[-1].state is State.GOOD:
        findings.append(_unless_missing("StarCraft map", lambda: str(find_game().map_file(next(iter(MAPS))))))
    if start_game and findings[-1].state is State.GOOD:
        findings.append(_answer())
    return findings


def _unless_missing(part: str, describe: Callable[[], str]) -> Finding:
    try:
        return Finding(part, State.GOOD, describe())
    except GameNotFoundError as error:
        return Finding(part, State.ABSENT, "not found, needed by env=starcraft2/..", str(error))


def _game() -> str:
    check_extra()
    game = find_game()
    return f"{game.version} in {game.folder}"


def _answer() -> Finding:
    from mipi_pl.envs.starcraft2.game import Game, GameError, GameOptions

    game = find_game()
    options = GameOptions(game, game.map_file(next(iter(MAPS))), 32.0, 0, _START_TIMEOUT_S, timeout_s=60)
    try:
        started = Game(options)
    except (GameError, ValueError) as error:
        advice = "start the game by hand to see its error message; on Linux it needs a recent C library"
        return Finding("StarCraft start", State.WRONG, str(error), advice)
    answered = started.version
    started.close()
    return Finding("StarCraft start", State.GOOD, f"the game answers, version {answered}")


def _smac() -> Finding:
    from mipi_pl.envs.smac import SmacNotFoundError, check_package

    try:
        folder = check_package()
    except SmacNotFoundError as error:
        return Finding("SMAC", State.ABSENT, "not found, needed by env=smac", str(error))
    return Finding("SMAC", State.GOOD, f"the StarCraft package, in {folder}")
