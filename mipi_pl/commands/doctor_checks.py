"""The checks of `mipi doctor`: each part of the installation, how it stands, and what to do about it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, requires, version
from textwrap import wrap

from packaging.requirements import Requirement

from mipi_pl.envs.starcraft2.installation import MAPS, GameNotFoundError, check_extra, find_game
from mipi_pl.logging.wandb_access import has_key

_WIDTH = 100
_MAIN_PACKAGES = ("torch", "torchrl", "lightning", "numba")
"""Their versions are shown where all is well."""


class State(Enum):
    """How a part of the installation stands."""

    GOOD = "ok"
    ABSENT = "-"
    """Optional, and not there."""
    WRONG = "WRONG"


@dataclass(frozen=True)
class Finding:
    """A line of the table.

    Attributes:
        part: of the installation.
        state: how it stands.
        detail: its version and place, or what is wrong.
        advice: what to do; empty where there is nothing to do.
    """

    part: str
    state: State
    detail: str
    advice: str = ""


def examine(start_game: bool = False) -> list[Finding]:
    """Make all checks.

    Args:
        start_game: start StarCraft II, if it is there, and see whether it answers.
    """
    torch, smac = _importing("PyTorch", _threads, _gpu), _importing("SMAC", _smac)
    return [_python(), _packages(), *torch, _wandb(), *_starcraft(start_game), *smac]


def table(findings: Iterable[Finding]) -> str:
    """The findings as lines, with what to do below each."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.state.value:>5}  {finding.part:<18} {finding.detail}".rstrip())
        indent = " " * 26
        if finding.advice:
            lines += wrap(f"-> {finding.advice}", _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}   ",
                          break_long_words=False, break_on_hyphens=False)  # fmt: skip
    return "\n".join(lines)


def _importing(part: str, *checks: Callable[[], Finding]) -> list[Finding]:
    """Make checks that import a package; if it cannot be imported, that is the only finding."""
    try:
        return [check() for check in checks]
    except (ImportError, OSError) as error:  # the second where a library of the system is missing
        return [Finding(part, State.WRONG, f"cannot be imported ({error})")]


def _python() -> Finding:
    return Finding("Python", State.GOOD, f"{platform.python_version()} in {sys.prefix}")


def _packages() -> Finding:
    missing, wrong, installed = [], [], {}
    for wanted in _requirements():
        try:
            installed[wanted.name] = version(wanted.name)
        except PackageNotFoundError:
            missing.append(f"missing {wanted}")
            continue
        if not wanted.specifier.contains(installed[wanted.name], prereleases=True):
            wrong.append(f"{wanted.name} {installed[wanted.name]} (wanted {wanted.specifier})")
    if missing or wrong:
        advice = "pip install -r requirements.lock, or make install"
        return Finding("packages", State.WRONG, "; ".join([*missing, *wrong]), advice)
    main = ", ".join(f"{name} {number}" for name, number in installed.items() if name in _MAIN_PACKAGES)
    return Finding("packages", State.GOOD, f"{len(installed)} as wanted: {main}")


def _requirements() -> Iterator[Requirement]:
    """The packages that every run needs, as pyproject.toml names them."""
    for line in requires("mipi-pl") or ():
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            yield wanted


def _threads() -> Finding:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    used = torch.get_num_threads()
    advice = f"more threads than cores are slow: threads={cores}" if cores and used > cores else ""
    return Finding("threads", State.GOOD, f"{cores} cores, PyTorch uses {used}", advice)


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("GPU", State.GOOD, torch.cuda.get_device_name(0))
    return Finding("GPU", State.ABSENT, "none that PyTorch can use; everything runs on the processor")


def _wandb() -> Finding:
    mode = os.environ.get("WANDB_MODE", "")
    if mode in ("offline", "disabled", "dryrun"):
        return Finding("wandb", State.GOOD, f"WANDB_MODE={mode}: nothing is sent")
    if has_key():
        return Finding("wandb", State.GOOD, "a key is there (it was not tried)")
    return Finding("wandb", State.ABSENT, "no key", "for logger=wandb: wandb login, or WANDB_MODE=offline")


def _starcraft(start_game: bool) -> list[Finding]:
    """The game; where it is there, its map, and where that is there too, its answer."""
    findings = [_unless_missing("StarCraft II", _game)]
    if findings[-1].state is State.GOOD:
        findings.append(_unless_missing("its map", lambda: str(find_game().map_file(next(iter(MAPS))))))
    if start_game and findings[-1].state is State.GOOD:
        findings.append(_answer())
    return findings


def _unless_missing(part: str, describe: Callable[[], str]) -> Finding:
    try:
        return Finding(part, State.GOOD, describe())
    except GameNotFoundError as error:
        return Finding(part, State.ABSENT, "not there, needed by env=starcraft2/..", str(error))


def _game() -> str:
    check_extra()
    game = find_game()
    return f"{game.version} in {game.folder}"


def _answer() -> Finding:
    from mipi_pl.envs.starcraft2.game import Game, GameError, GameOptions

    game = find_game()
    options = GameOptions(game, game.map_file(next(iter(MAPS))), 32.0, 0, 180, 60)
    try:
        started = Game(options)
    except (GameError, ValueError) as error:
        advice = "start it by hand to see its own message; on Linux it needs a recent C library"
        return Finding("its start", State.WRONG, str(error), advice)
    answered = started.version
    started.close()
    return Finding("its start", State.GOOD, f"it answers, as version {answered}")


def _smac() -> Finding:
    from mipi_pl.envs.smac import SmacNotFoundError, check_package

    try:
        check_package()
    except SmacNotFoundError as error:
        return Finding("SMAC", State.ABSENT, "not there, needed by env=smac", str(error))
    return Finding("SMAC", State.GOOD, f"{version('smac')}, the StarCraft package")
