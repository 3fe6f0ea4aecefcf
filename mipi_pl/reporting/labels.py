"""Labels of runs: what the user changed, or letters, for which the report has a table of the keys that differ."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mipi_pl.reporting.runs import Run

LONGEST = 36
"""Longest automatic label in characters; longer ones become letters."""
_MOST_KEYS = 3
_CHOICES = ("experiment", "network", "tuned", "learner", "datamodule", "optimizers", "trainer", "callbacks", "mixer")
"""Groups of configs whose choice changes results; algorithm and environment are the name of a run already."""


@dataclass(frozen=True)
class RunSet:
    """Runs with the same name and the same settings.

    Attributes:
        name: name of the algorithm or the environment.
        settings: values of the settings that affect results, by dotted key; empty if no config is readable.
        runs: at least one run.
    """

    name: str
    settings: Mapping[str, str]
    runs: tuple[Run, ...]

    @property
    def began(self) -> tuple[str, str]:
        """Sort key: the time in the name of the first run folder, then the whole path."""
        return min((run.folder.name, str(run.folder)) for run in self.runs)


def labelled(sets: Sequence[RunSet]) -> dict[str, RunSet]:
    """Return the sets by label, sorted by label; labels are unique."""
    found: dict[str, RunSet] = {}
    for name in dict.fromkeys(one.name for one in sets):
        same = sorted((one for one in sets if one.name == name), key=lambda one: one.began)
        found.update(zip(unique(labels_of(same), found), same, strict=True))
    return dict(sorted(found.items()))


def labels_of(sets: Sequence[RunSet]) -> list[str]:
    """Return a label for each of several sets of one name, which have different settings.

    This is the name with the overrides that the user typed, if they tell the sets apart; otherwise with the settings
    that differ, if they are few; otherwise with a letter.
    """
    if len(sets) == 1:
        return [sets[0].name]
    typed = typed_differences(sets)
    differing = differing_keys(sets)
    settings = [{key: one.settings[key] for key in differing if key in one.settings} for one in sets]
    for found in (typed, settings):
        texts = [
            "config unreadable" if not one.settings else _text(chosen) for one, chosen in zip(sets, found, strict=True)
        ]
        labels = [f"{one.name} [{text}]" if text else one.name for one, text in zip(sets, texts, strict=True)]
        few = all(len(chosen) <= _MOST_KEYS for chosen in found)
        if few and len(set(labels)) == len(labels) and max(map(len, labels)) <= max(LONGEST, len(sets[0].name) + 20):
            return labels
    return [f"{one.name} {letters(place)}" for place, one in enumerate(sets)]


def differing_keys(sets: Sequence[RunSet]) -> list[str]:
    """Return the keys whose values are not the same in all sets with a readable config, sorted."""
    readable = [one.settings for one in sets if one.settings]
    keys = sorted({key for settings in readable for key in settings})
    return [key for key in keys if len({settings.get(key) for settings in readable}) > 1]


def typed_differences(sets: Sequence[RunSet]) -> list[dict[str, str]]:
    """Return the overrides of each set, as typed by the user, that change results and differ between the sets."""
    differing = differing_keys(sets)
    typed = [_typed(one, differing) for one in sets]
    keys = {key for found in typed for key in found}
    unequal = {key for key in keys if len({found.get(key) for found in typed}) > 1}
    return [{key: value for key, value in found.items() if key in unequal} for found in typed]


def _typed(one: RunSet, differing: Sequence[str]) -> dict[str, str]:
    of_runs = [overrides_of(run) for run in one.runs]
    found = {}
    for key, text in of_runs[0].items():
        if key in differing:
            found[key] = one.settings.get(key, text)  # in a multirun, the text has the values of all runs
        elif key.partition("@")[0].partition("/")[0] in _CHOICES and all(run.get(key) == text for run in of_runs):
            found[key] = text
    return {key: text for key, text in found.items() if key in differing or "," not in text or text.startswith("[")}


def overrides_of(run: Run) -> dict[str, str]:
    """Return the overrides of a run by key, from its config, or from its command if an earlier version wrote it."""
    names = run.config.get("run")
    stored = names.get("overrides") if isinstance(names, Mapping) else None
    words = list(map(str, stored)) if isinstance(stored, list) else _words_of_command(run)
    pairs = (word.lstrip("+").partition("=") for word in words if not word.startswith(("-", "~")))
    return {key: value for key, equals, value in pairs if equals}


def _words_of_command(run: Run) -> list[str]:
    """Return the arguments of `mipi train`; none if the command is another one."""
    try:
        program, command, *words = shlex.split(run.command or "")
    except ValueError:  # fewer than two words, or an open quote
        return []
    return words if (program, command) == ("mipi", "train") else []


def is_debug(run: Run) -> bool:
    """Return whether the run was started with a debug config, such as ``debug=tiny``."""
    return overrides_of(run).get("debug", "null") != "null"


def letters(place: int) -> str:
    """Return A, B, ..., Z, AA, AB, ... for 0, 1, ..."""
    text = chr(ord("A") + place % 26)
    return text if place < 26 else letters(place // 26 - 1) + text


def _text(chosen: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.removeprefix('algorithm.').removeprefix('env.')}={value}" for key, value in chosen.items())


def unique(labels: Sequence[str], taken: Mapping[str, object]) -> list[str]:
    """Append apostrophes to labels that are among those taken, such as one that the user gave, or occur before."""
    unique = []
    for label in labels:
        while label in taken or label in unique:
            label += "'"
        unique.append(label)
    return unique
