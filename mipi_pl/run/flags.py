"""The flags of `mipi train`, and Hydra's main function, which carries them out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mipi_pl.utils.errors import UserError, one_message

_OFFERED = "--config-dir FOLDER, -m (or --multirun), --cfg job|hydra|all, --resolve (with --cfg), --help"


@dataclass(frozen=True)
class Flags:
    """The arguments of `mipi train`, taken apart.

    Attributes:
        overrides: overrides, in their order.
        words: flags with their arguments, in Hydra's spelling.
        is_multirun: whether each combination of the overrides is a run.
        wants_help: whether the help was asked for.
    """

    overrides: list[str]
    words: list[str]
    is_multirun: bool
    wants_help: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; the flags of mipi train are {_OFFERED}")


def read_flags(arguments: Sequence[str]) -> Flags:
    """Separate the flags of `mipi train` from the overrides; flags may be anywhere among them.

    Raises:
        UserError: for a flag that the command does not offer, although Hydra has it, and for a flag whose argument is
            missing or which needs another flag.
    """
    parser = _Parser(prog="mipi train", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("--cfg", choices=("job", "hydra", "all"))
    parser.add_argument("--resolve", action="store_true")
    options, overrides = parser.parse_known_args(list(arguments))
    if unknown := [word for word in overrides if word.startswith("-")]:
        parser.error(f"there is no flag {unknown[0].partition('=')[0]}")
    if options.resolve and options.cfg is None:
        parser.error("--resolve needs --cfg job, which shows the config")
    words = [f"--{name}" for name in ("multirun", "resolve") if getattr(options, name)]
    words += [] if options.cfg is None else ["--cfg", options.cfg]
    return Flags(overrides, words, options.multirun, options.help)


def through_hydra(arguments: Sequence[str], task: Callable[[DictConfig], None]) -> None:
    """Call a task by `hydra.main`, once or for each combination of the overrides.

    Raises:
        UserError: if Hydra rejects an argument.
        Exception: any exception of the task.
    """

    @hydra.main(config_path="pkg://mipi_pl.configs", config_name="train", version_base="1.3")
    def job(config: DictConfig) -> None:
        try:
            with as_main(whole):
                task(config)
        except Exception as error:
            # Hydra would print a traceback and exit with code 1; it does not catch a BaseException.
            raise _FromTask(error) from error

    whole = sys.argv
    try:
        with no_other_hydra(), as_main(["mipi train", *arguments]):
            job()
    except _FromTask as carrier:
        raise carrier.error from carrier
    except Exception as error:  # errors of many types, for example of a plugin
        raise UserError(one_message(error)) from error


class _FromTask(BaseException):
    """Carries an exception of the task through `hydra.main`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)  # its only argument, so that it can be sent from the process of a launcher
        self.error = error


@contextmanager
def no_other_hydra() -> Iterator[None]:
    """Set aside the Hydra of a program that calls this one, as there can be only one at a time.

    Its config is set aside too, and none is left behind for the next run of this process: `--cfg` would leave one.
    """
    kept, kept_config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    try:
        yield
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = kept, kept_config


@contextmanager
def as_main(words: list[str]) -> Iterator[None]:
    """Replace `sys.argv`, and set HYDRA_FULL_ERROR so that Hydra raises errors instead of printing them and exiting."""
    arguments, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = words, "1"
    try:
        yield
    finally:
        sys.argv = arguments
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error
