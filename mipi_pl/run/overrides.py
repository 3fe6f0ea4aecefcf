"""Overrides of a config from Python values: dictionaries and keywords become the words of the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from mipi_pl.utils.errors import UserError

Override = str | Sequence[str] | Mapping[str, Any]
"""A word such as ``"seed=1"``, several of them, or a dictionary of keys and values."""

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
"""Texts that Hydra's grammar reads as they are; it would read others as numbers, lists or interpolations."""
_WORDS = {"null", "true", "false", "nan", "inf"}
"""Words that Hydra's grammar does not read as texts."""


def as_words(overrides: Iterable[Override], keywords: Mapping[str, Any] | None = None, within: str = "") -> list[str]:
    """Return the words of the command line for overrides of any form.

    A dictionary may be nested or have dotted keys: ``{"env": {"draw": "sizes"}}`` is ``{"env.draw": "sizes"}``. Keys
    with a dot are added if the config does not have them, such as the name of a further evaluation; a key that no part
    of the run takes is still refused.

    Args:
        overrides: words or dictionaries, in order; later ones take precedence.
        keywords: a last dictionary.
        within: dotted key that all dictionaries are below.

    Raises:
        UserError: if a value is not a number, a text, a list, a dictionary, True, False or None.

    Examples:
        >>> as_words(["seed=1", {"env": "sz", "env.team_sizes": [3, 4]}], {"algorithm": {"alpha": 0.1}})
        ['seed=1', 'env=sz', '++env.team_sizes=[3,4]', '++algorithm.alpha=0.1']
    """
    return [word for override in [*overrides, keywords or {}] for word in _words_of(override, within)]


def _words_of(override: Override, within: str) -> Iterator[str]:
    if isinstance(override, str):
        yield override
    elif isinstance(override, Mapping):
        for key, value in _leaves(override, f"{within}." if within else ""):
            add = "++" if "." in key and not set(key) & set("@/+~") else ""
            yield f"{add}{key}={_written(value, key)}"
    elif isinstance(override, Sequence) and all(isinstance(word, str) for word in override):
        yield from override
    else:
        raise UserError(f"overrides are texts such as 'seed=1' or dictionaries such as {{'seed': 1}}, got {override!r}")


def _leaves(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _written(value: Any, key: str) -> str:
    """Return a value in Hydra's grammar."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        number = float(value)
        return repr(number) if math.isfinite(number) else str(number)
    if isinstance(value, (str, Path)):
        return _text(str(value))
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_written(name, key)}:{_written(entry, key)}" for name, entry in value.items()) + "}"
    if isinstance(value, (Sequence, set, frozenset)):
        return "[" + ",".join(_written(entry, key) for entry in value) + "]"
    raise UserError(f"{key} must be a number, a text, a list, a dictionary, True, False or None, got {value!r}")


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"
