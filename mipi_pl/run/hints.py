"""Keys and values of a config against the names and type hints that are expected."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mipi_pl.utils.errors import UserError

_STRICT = ConfigDict(strict=True)
"""A number may be an integer, but nothing else is converted: neither "3" nor true is a number."""
_READABLE = {
    int: "an integer",
    float: "a number",
    str: "a text",
    bool: "true or false",
    type(None): "null",
    list: "a list",
    dict: "a mapping",
}


def check_value(hint: Any, value: object, name: str) -> None:
    """Refuse a value that its type hint does not allow.

    Args:
        hint: of a field or a parameter.
        value: from a config: lists, dicts, numbers, strings and None.
        name: key of the value, for the message.

    Raises:
        UserError: if the hint is of simple types and containers and `value` does not fit; any other hint allows all.
    """
    try:
        TypeAdapter(_judged(hint), config=_STRICT).validate_python(value)
    except ValidationError as error:
        raise UserError(f"{name} must be {_readable(hint)}, got {value!r}") from error


def unknown_key(path: str, key: str, known: Iterable[str]) -> str:
    """The message for a key that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(key, list(known), n=1)
    hint = (
        f"did you mean {path}{near[0]}?" if near else f"known keys: {listed(name for name in known if '.' not in name)}"
    )
    return f"unknown key {path}{key}; {hint}"


def listed(names: Iterable[str]) -> str:
    """Names of keys or parameters in alphabetical order."""
    return ", ".join(sorted(names)) or "none"


def _judged(hint: Any) -> Any:
    """What of a hint is judged: simple types, lists (YAML has no tuples) and mappings; Any stands for all else."""
    kind, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return typing.Union[tuple(_judged(part) for part in parts)]  # noqa: UP007
    if kind in (list, tuple, set, Sequence):
        entries = [part for part in parts if part is not Ellipsis]
        return list[_judged(entries[0])] if len(entries) == 1 else list  # type: ignore[misc]
    if kind in (dict, Mapping):
        return dict
    return hint if kind in (*_READABLE, typing.Literal) else Any


def _readable(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_readable(option) for option in typing.get_args(hint))
    if origin is typing.Literal:
        return " or ".join(repr(value) for value in typing.get_args(hint))
    if origin in (list, tuple, set, Sequence):
        entries = [_readable(entry) for entry in typing.get_args(hint) if entry is not Ellipsis]
        return f"a list, each entry {entries[0]}" if len(entries) == 1 else "a list"
    if origin is not None:
        return str(hint).replace("typing.", "").replace("collections.abc.", "")
    return _READABLE.get(hint, str(hint))
