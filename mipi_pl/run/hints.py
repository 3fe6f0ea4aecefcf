"""Checks of config keys and values against expected names and type hints."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mipi_pl.run.kinds import factory_of
from mipi_pl.utils.errors import UserError, did_you_mean

_STRICT = ConfigDict(strict=True)
"""An integer is accepted as a float. Nothing else is converted: neither "3" nor true is a number."""
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
    """Check a value against a type hint.

    Simple types, containers of them and callables are checked. Any other hint accepts every value.

    Args:
        hint: type hint of a field or a parameter.
        value: value from a config: a list, dict, number, string or None.
        name: key of the value, for the message.

    Raises:
        UserError: if the value does not match the hint.
    """
    if not _fits(hint, value):
        is_unquoted = isinstance(value, (int, float)) and _fits(hint, str(value))
        advice = f"; a text that reads as a number or as true needs two pairs of quotes: {name}=\"'VALUE'\""
        raise UserError(f"{name} must be {readable(hint)}, got {value!r}{advice if is_unquoted else ''}")


def _fits(hint: Any, value: object) -> bool:
    try:
        TypeAdapter(_judged(hint), config=_STRICT).validate_python(value)
    except ValidationError:
        return False
    return True


def unknown_key(path: str, key: str, known: Iterable[str]) -> str:
    """Return the message for an unknown key, with the most similar known key or the known keys without a dot."""
    names = list(known)
    hint = did_you_mean(key, names, f"{path}{{}}").strip()
    return f"unknown key {path}{key}; {hint or 'known keys: ' + listed(name for name in names if '.' not in name)}"


def listed(names: Iterable[str]) -> str:
    """Return the names in alphabetical order, separated by commas, or ``none`` if empty."""
    return ", ".join(sorted(names)) or "none"


def _judged(hint: Any) -> Any:
    """Reduce a hint to the types that are checked: simple types, lists and mappings.

    Tuples, sets and sequences become lists, because YAML has no other sequence. Every other type becomes Any.
    """
    kind, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return typing.Union[tuple(_judged(part) for part in parts)]  # noqa: UP007
    if kind in (list, tuple, set, Sequence):
        entries = [part for part in parts if part is not Ellipsis]
        return list[_judged(entries[0])] if len(entries) == 1 else list  # type: ignore[misc]
    if kind in (dict, Mapping):
        return dict
    if factory_of(hint)[0]:
        return Callable
    return hint if kind in (*_READABLE, typing.Literal) else Any


def is_plain(hint: Any) -> bool:
    """Return whether only plain values, lists and mappings fit a hint, and no object of a class."""
    kind = typing.get_origin(hint) or hint
    return kind in (*_READABLE, typing.Literal, tuple, set, Sequence, Mapping)


def readable(hint: Any) -> str:
    """Describe a hint in words, for messages."""
    origin = typing.get_origin(hint)
    is_factory, made = factory_of(hint)
    if is_factory:
        return f"a node with a _target_{f' that makes {made.__name__}' if made else ''} and _partial_: true"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(readable(option) for option in typing.get_args(hint))
    if origin is typing.Literal:
        return " or ".join(repr(value) for value in typing.get_args(hint))
    if origin in (list, tuple, set, Sequence):
        entries = [readable(entry) for entry in typing.get_args(hint) if entry is not Ellipsis]
        return f"a list, each entry {entries[0]}" if len(entries) == 1 else "a list"
    if origin is not None:
        return str(hint).replace("typing.", "").replace("collections.abc.", "")
    return _READABLE.get(hint, str(hint))
