"""Choices and keys of configs/, with what each key means: its comment in the YAML files. Nothing is composed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

CONFIG_DIR = ("--config-dir", "-cd")
"""Flags that name the user's own folder of configs and modules."""
_KEY = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z_][\w.]*):(?:\s|$)")
_GLOBAL = "# @package _global_"


@dataclass
class ConfigFile:
    """A file of configs/, as text with comments.

    Attributes:
        meaning: comment at its top.
        meanings: comment of each key, by dotted key within the file; empty if a key has none.
        is_global: whether its keys are top-level keys, instead of keys of the node of its group.
        defaults: its defaults list.
    """

    meaning: str = ""
    meanings: dict[str, str] = field(default_factory=dict)
    is_global: bool = False
    defaults: list[Any] = field(default_factory=list)


def _configs() -> Traversable:
    return files("mipi_pl.configs")


def groups() -> list[str]:
    """Return the config groups: the folders of configs/."""
    return [entry.name for entry in _configs().iterdir() if entry.is_dir() and not entry.name.startswith("_")]


def choices_of(group: str) -> list[str]:
    """Return the names of the configs of a group that can be chosen."""
    folder = _configs().joinpath(group)
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return [*sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")), *inner_choices(group)]


def inner_choices(group: str) -> list[str]:
    """Return the choices in the subfolders of a config group.

    A file without a ``defaults`` list is only a part of other configs and is left out.
    """
    top = _configs().joinpath(group)
    folders = [entry for entry in top.iterdir() if entry.is_dir()] if group and top.is_dir() else []
    inner = [(f"{folder.name}/{file.name}", file) for folder in folders for file in folder.iterdir() if file.is_file()]
    return sorted(name.removesuffix(".yaml") for name, file in inner if "\ndefaults:" in file.read_text("utf-8"))


def files_below(folder: Traversable, path: str = "") -> list[str]:
    """Return the names of the configs in a folder and its subfolders."""
    if not folder.is_dir():
        return [path.removesuffix(".yaml")] if path.endswith(".yaml") else []
    entries = (files_below(entry, f"{path}/{entry.name}" if path else entry.name) for entry in folder.iterdir())
    return [name for names in entries for name in names]


def group_meanings() -> dict[str, str]:
    """Return the groups that train.yaml chooses from, in its order, with their meaning."""
    text = _configs().joinpath("train.yaml").read_text("utf-8")
    lines = re.findall(r"^  - (?:override )?(\w+): .*?# (.*)$", text, re.MULTILINE)
    return {group: re.sub(r": configs/\w+$", "", meaning) for group, meaning in lines}


def defaults_with(chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the choice of each group, given those of a user: an algorithm chooses its datamodule, and so on."""
    selected = dict(chosen)
    for group in ("experiment", "debug", "algorithm", "learner"):
        default = selected.get(group, {"algorithm": "mipi"}.get(group))
        for other, name in _overridden(f"{group}/{default}") if default else ():
            selected.setdefault(other, name)
    for entry in read("train.yaml").defaults:
        for group, name in entry.items() if isinstance(entry, dict) else ():
            if group in group_meanings() and name is not None:
                selected.setdefault(group, name)
    return selected


def _overridden(path: str) -> Iterator[tuple[str, str]]:
    """Yield the groups and names that a config and the configs it includes override."""
    for entry in read(f"{path}.yaml").defaults:
        if isinstance(entry, str) and entry != "_self_":
            yield from _overridden(_include(path, entry)[0])
    for key, name in _overrides(path).items():
        group, _, package = key.partition("@")
        # A choice with another package is one inside of a config, such as mixer@mixer.
        if name is not None and (not package or package.startswith("_global_")):
            yield group, name


def _overrides(path: str, own: Path | None = None) -> dict[str, str | None]:
    """Return the choices that a config overrides in the configs it includes, such as {"mixer@mixer": "sum"}."""
    entries = [entry for entry in read(f"{path}.yaml", own).defaults if isinstance(entry, dict)]
    return {
        key.removeprefix("override ").lstrip("/"): name
        for entry in entries
        for key, name in entry.items()
        if key.startswith("override ")
    }


def meanings(chosen: Mapping[str, str], own: Path | None = None) -> dict[str, str]:
    """Return all keys of a composed config, as dotted keys, with their meaning.

    Args:
        chosen: chosen config of each group.
        own: folder of the user's own configs, whose files take precedence.
    """
    found = dict(read("train.yaml").meanings)
    for group, name in chosen.items():
        if group in groups():
            _collect(f"{group}/{name}", group, chosen, own, found)
    return found


def _collect(
    path: str,
    package: str,
    chosen: Mapping[str, str],
    own: Path | None,
    found: dict[str, str],
    overrides: Mapping[str, str | None] | None = None,
) -> None:
    config = read(f"{path}.yaml", own)
    overrides = {**_overrides(path, own), **(overrides or {})}
    package = "" if config.is_global else package
    for entry in config.defaults:
        name, place = entry, package
        if isinstance(entry, dict):
            ((group, default),) = entry.items()
            value = overrides.get(group.lstrip("/"), default)
            if group.startswith("override ") or value is None:
                continue
            name = f"{group.partition('@')[0]}/{chosen.get(value[2:-1], '') if value.startswith('${') else value}"
            place = f"{package}.{group.partition('@')[2]}"
        if name != "_self_":
            _collect(_include(path, name)[0], place, chosen, own, found, overrides)
    for key, meaning in config.meanings.items():
        dotted = f"{package}.{key}" if package else key
        found[dotted] = found.get(dotted) or meaning if config.is_global or not meaning else meaning


def _include(path: str, entry: str) -> tuple[str, str]:
    """Return the path of a config that another one includes, and its package."""
    name, _, package = entry.partition("@")
    return (name[1:] if name.startswith("/") else f"{path.partition('/')[0]}/{name}"), package


def read(path: str, own: Path | None = None) -> ConfigFile:
    """Return a file of configs/ or of the user's own folder; an empty one if it does not exist."""
    roots: list[Traversable] = [*([] if own is None else [own]), _configs()]
    for root in roots:
        if (file := root.joinpath(*path.split("/"))).is_file():
            return parse(file.read_text("utf-8"))
    return ConfigFile()


def parse(text: str) -> ConfigFile:
    """Read the comments of a YAML file: at its top, behind each key, continued below it, or above it."""
    content = yaml.safe_load(text) or {}
    found = ConfigFile(is_global=text.startswith(_GLOBAL), defaults=content.get("defaults", []))
    path: list[tuple[int, str]] = []
    above: list[str] = []
    key, column, at_top = "", -1, True
    for line in text.removeprefix(_GLOBAL).splitlines():
        start = len(line) - len(line.lstrip())
        if line.lstrip().startswith("#"):
            comment = line.strip(" #")
            if key and start == column:
                found.meanings[key] += f" {comment}"
            else:
                above.append(comment)
            continue
        if at_top and (line.strip() or above):
            found.meaning, above, at_top = " ".join(above), [], False
        if not (matched := _KEY.match(line)):
            above = []
            continue
        path = [(indent, name) for indent, name in path if indent < start] + [(start, matched["key"])]
        key = ".".join(name for _, name in path)
        beside = re.search(r"\s#\s(.*)$", line)
        column = beside.start() + 1 if beside else -1
        is_inner = re.match(r"\s*{[^}]", line[matched.end() - 1 :])  # the comment is on keys within braces
        found.meanings[key] = beside[1] if beside and not is_inner else " ".join(above)
        above = []
    if at_top:  # a file of comments only
        found.meaning = " ".join(above)
    found.meanings = {
        name: text for name, text in found.meanings.items() if name.split(".")[0] not in ("defaults", "hydra")
    }
    return found
