"""The text of `mipi train --help`: choices and keys with their values and meaning, within the width of the terminal."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mipi_pl.run.config_files import choices_of, defaults_with, group_meanings, groups, meanings, read

_USAGE = """\
usage: mipi train [choice=name ...] [key=value ...] [flag ...]

Trains agents. A first run: mipi train experiment=quickstart

Flags:
  -m, --multirun       one run for each combination of values, such as
                       mipi train -m seed=0,1,2 algorithm=mipi,refil
  --cfg job            print the composed config and do not train; with
                       --resolve, references ${...} are resolved
  --config-dir FOLDER  folder of your own configs and modules
  -h, --help           this text, for the choices in the command: the keys of
                       another environment are in mipi train env=sz --help
"""
_HIDDEN = ("_partial_", "_convert_")
_MAX_WIDTH = 100


def help_text(config: DictConfig, overrides: Sequence[str], own: Path | None = None) -> str:
    """Return the help on training.

    Args:
        config: config composed from the overrides; its references are shown unresolved.
        overrides: overrides, whose choices determine the keys.
        own: folder of the user's own configs.
    """
    return "\n".join([_USAGE, *_choices(), *_keys(config, _meanings(config, overrides, own))])


def _meanings(config: DictConfig, overrides: Sequence[str], own: Path | None) -> dict[str, str]:
    named = dict(override.split("=", 1) for override in overrides if "=" in override)
    chosen = {group: name for group, name in named.items() if group in groups()}
    names = {"env": config.run.environment, "algorithm": config.run.algorithm, "experiment": config.run.experiment}
    return meanings(defaults_with({**chosen, **{group: name for group, name in names.items() if name}}), own)


def _choices() -> Iterator[str]:
    yield "Choices, as choice=name:"
    for group, meaning in group_meanings().items():
        if group != "learner":  # chosen by the algorithm
            yield indented(f"{group}: {meaning}", first=2)
            for name in choices_of(group):
                first_sentence = re.split(r"(?<=\.)(?<! al\.)\s", read(f"{group}/{name}.yaml").meaning)[0]
                yield indented(f"{name}: {first_sentence}", 8, first=6)
    parts = "optimizer@algorithm.critic_optimizer=adam, mixer@algorithm.mixer=sum"
    yield indented(f"a part of the algorithm: {parts}, ...", first=2)


def _keys(config: DictConfig, known: Mapping[str, str]) -> Iterator[str]:
    yield "\nKeys with their present values, as key=value:"
    content = OmegaConf.to_container(config)
    assert isinstance(content, dict)
    content.pop("run")  # names, which are not to be changed
    plain = {key: value for key, value in content.items() if not isinstance(value, dict)}
    for key, value in _flat({**plain, **{key: content[key] for key in content if key not in plain}}, known):
        if value is None:
            yield f"\n  {key}"
        elif len(f"  {key}={value}") > _width():
            yield f"  {key}=\n{indented(value, 4)}"
        else:
            yield f"  {key}={value}"
        if meaning := known.get(key) or group_meanings().get(key):
            yield indented(meaning)


def _flat(node: Mapping[Any, Any], known: Mapping[str, str], path: str = "") -> Iterator[tuple[str, str | None]]:
    """Yield dotted keys with their values as on a command line; None for a node, which has known keys of its own."""
    for key, value in node.items():
        if key in _HIDDEN:
            continue
        if isinstance(value, dict) and any(name.startswith(f"{path}{key}.") for name in known):
            yield f"{path}{key}", None
            yield from _flat(value, known, f"{path}{key}.")
        else:
            yield f"{path}{key}", value if isinstance(value, str) else json.dumps(value, default=str)


def indented(text: str, indent: int = 6, first: int | None = None) -> str:
    """Return a text wrapped to the width of the terminal, at most 100 columns.

    Args:
        text: text without line breaks.
        indent: columns before each line.
        first: columns before the first line; None: `indent`.
    """
    before = " " * (indent if first is None else first)
    return fill(
        text, _width(), initial_indent=before, subsequent_indent=" " * indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _width() -> int:
    return min(shutil.get_terminal_size().columns, _MAX_WIDTH)
