"""What `mipi doctor` looks at: a line for each thing, how it stands, and what to do where something is missing."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, requires, version
from textwrap import wrap

from mipi_pl.envs.starcraft2.installation import MAPS, GameNotFoundError, check_extra, find_game
from mipi_pl.logging.wandb_access import has_key

_WIDTH = 100


class State(Enum):
    """How something stands."""

    GOOD = "ok"
    ABSENT = "-"
    """Optional, and not there."""
    WRONG = "WRONG"


@dataclass(frozen=True)
class Finding:
    """A line of the table; `advice` is empty where there is nothing to do."""

    what: str
    state: State
    found: str
    advice: str = ""


def examine(start_game: bool = False) -> list[Finding]:
    """Look at everything.

    Args:
        start_game: start StarCraft II, if it is there, and see whether it answers.
    """
    game = [_game()]
    if game[0].state is State.GOOD:
        game.append(_map())
    if start_game and all(finding.state is State.GOOD for finding in game):
        game.append(_answer())
    return [_python(), *_packages(), *_looked("PyTorch", _threads, _gpu), _wandb(), *game, *_looked("SMAC", _smac)]


def _looked(what: str, *looks: Callable[[], Finding]) -> list[Finding]:
    """What is found; where a package that every run needs cannot be imported, that, once."""
    try:
        return [look() for look in looks]
    except (ImportError, OSError) as error:  # the second where a library of the system is missing
        return [Finding(what, State.WRONG, f"cannot be imported ({error})")]


def table(findings: Iterable[Finding]) -> str:
    """The findings as lines, with what to do below each."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.state.value:>5}  {finding.what:<18} {finding.found}".rstrip())
        indent = " " * 26
        if finding.advice:
            lines += wrap(f"-> {finding.advice}", _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}   ",
                          break_long_words=False, break_on_hyphens=False)  # fmt: skip
    return "\n".join(lines)


def _python() -> Finding:
    return Finding("Python", State.GOOD, f"{platform.python_version()} in {sys.prefix}")


def _packages() -> list[Finding]:
    """The packages that every run needs, as pyproject.toml names them."""
    from packaging.requirements import Requirement

    missing, wrong, found = [], [], []
    for line in requires("mipi-pl") or ():
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(wanted.name)
        except PackageNotFoundError:
            missing.append(str(wanted))
            continue
        found.append(f"{wanted.name} {installed}")
        if not wanted.specifier.contains(installed, prereleases=True):
            wrong.append(f"{wanted.name} {installed} (wanted {wanted.specifier})")
    if missing or wrong:
        said = "; ".join([*(f"missing {name}" for name in missing), *wrong])
        return [Finding("packages", State.WRONG, said, "pip install -r requirements.lock, or make install")]
    shown = [name for name in found if re.match(r"(torch|torchrl|lightning|numba) ", name)]
    return [Finding("packages", State.GOOD, f"{len(found)} as wanted: {', '.join(shown)}")]


def _threads() -> Finding:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    used = torch.get_num_threads()
    found = f"{cores} cores, PyTorch uses {used}"
    if cores and used > cores:
        return Finding("threads", State.GOOD, found, f"more threads than cores are slow: threads={cores}")
    return Finding("threads", State.GOOD, found)


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


def _asked(what: str, ask: Callable[[], str]) -> Finding:
    """Optional: what `ask` finds, or its message as advice."""
    try:
        return Finding(what, State.GOOD, ask())
    except GameNotFoundError as error:
        return Finding(what, State.ABSENT, "not there, needed by env=starcraft2/..", str(error))


def _game() -> Finding:
    def ask() -> str:
        check_extra()
        game = find_game()
        return f"{game.version} in {game.folder}"

    return _asked("StarCraft II", ask)


def _map() -> Finding:
    return _asked("its map", lambda: str(find_game().map_file(next(iter(MAPS)))))


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
