"""Candidates for the last word of a command line, from the parsers of the commands and the files of configs/."""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Sequence
from importlib import import_module

from mipi_pl.commands import COMMANDS, module_of
from mipi_pl.commands.options import Parser
from mipi_pl.run.config_files import choices_of, defaults_with, groups, meanings, read
from mipi_pl.storage import shipped

_LIKE_TRAIN = ("train", "compositions", "check-env")
"""Commands that take choices and keys of train.yaml; Hydra parses their arguments."""
_TRAIN_FLAGS = ("--config-dir", "--multirun", "--cfg", "--resolve", "--help")
_POLICIES = ("eval", "watch")
"""Commands that take a policy that comes with the program."""


def candidates(line: str) -> list[str]:
    """Return the words that the last word of a command line can become; none for files.

    Args:
        line: command line up to the cursor, beginning with ``mipi``.
    """
    words = line.split()
    current = "" if not words or line[-1:].isspace() else words.pop()
    _, *words = words or [""]
    known = _known(words, current) if words else [*COMMANDS, "--help", "--version"]
    return [word for word in known if word.startswith(current) and (current or not word.startswith("-"))]


def _known(words: Sequence[str], current: str) -> list[str]:
    command, *rest = words
    if command not in COMMANDS:
        return []
    if command in _LIKE_TRAIN:
        return ["job", "all", "hydra"] if rest[-1:] == ["--cfg"] else _of_training(command, rest, current)
    parser = Parser()
    import_module(module_of(command)).declare(lambda *_, **__: parser)
    shown = [argument for argument in parser.arguments if argument.help != SUPPRESS]
    flags = [name for argument in shown for name in argument.option_strings if name.startswith("--")]
    for argument in shown:
        values = [str(choice) for choice in argument.choices or ()]
        if rest and rest[-1] in argument.option_strings:
            return values
        if not argument.option_strings and values and not rest:
            return [*values, *flags]
    if command in _POLICIES:
        return [*(_keys_of_eval() if rest else shipped.names()), *flags]
    return flags


def _of_training(command: str, words: Sequence[str], current: str) -> list[str]:
    """Return flags, groups and keys, or the choices of the group before ``=``."""
    key, equals, _ = current.partition("=")
    if equals:
        return [f"{key}={name}" for name in choices_of(key.partition("@")[0])]
    named = dict(word.split("=", 1) for word in words if "=" in word)
    chosen = defaults_with({group: name for group, name in named.items() if group in groups()})
    keys = [name for name in meanings(chosen) if not name.startswith("run.") and "_partial_" not in name]
    nodes = {name.rpartition(".")[0] for name in keys} | {"run"}
    flags = _TRAIN_FLAGS if command == "train" else ("--config-dir", "--help")
    return [*sorted(f"{name}=" for name in {*groups(), *keys} - (nodes - set(groups()))), *flags]


def _keys_of_eval() -> list[str]:
    return [f"{name}=" for name in read("eval.yaml").meanings if name not in ("env", "held_out")]
