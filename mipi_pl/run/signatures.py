"""Checks of ``_target_`` nodes in a config against the signatures of their targets."""

from __future__ import annotations

import importlib
import inspect
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mipi_pl.envs.base import EntityEnv
from mipi_pl.run.hints import check_value, unknown_key
from mipi_pl.utils.errors import UserError

_HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}


def check_targets(node: object, path: str) -> None:
    """Check every ``_target_`` node of a config.

    Args:
        node: the config, or a part of it.
        path: dotted key of `node`, for messages; empty for the whole config.

    Raises:
        UserError: if a node does not match the signature of its target, or a number is NaN.
    """
    if isinstance(node, float) and math.isnan(node):
        raise UserError(f"{path} is NaN; give a number")
    if isinstance(node, Mapping):
        if "_target_" in node:
            check_node(node, path)
        for key, value in node.items():
            check_targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for index, value in enumerate(node):
            check_targets(value, f"{path}[{index}]")


def check_node(node: Mapping[Any, Any], path: str) -> None:
    """Check one ``_target_`` node.

    Args:
        node: a mapping with the key ``_target_``.
        path: dotted key of the node, for messages.

    Raises:
        UserError: if the target cannot be imported, a key is not one of its parameters, or a value does not match the
            type annotation of its parameter.
    """
    module, _, name = str(node["_target_"]).rpartition(".")
    try:
        target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{path}._target_: cannot import {node['_target_']!r} ({error})") from error
    parameters, open_ended = _parameters_of(target)
    for key, value in node.items():
        if key in _HYDRA_KEYS:
            continue
        if key not in parameters and not open_ended:
            raise UserError(unknown_key(f"{path}.", str(key), parameters))
        if not (isinstance(value, Mapping) and "_target_" in value):
            check_value(parameters.get(key, Any), value, f"{path}.{key}")


def _parameters_of(target: Callable[..., Any]) -> tuple[dict[str, Any], bool]:
    """Return the names and types of the parameters of a class or function, and whether it accepts any keyword.

    An environment class that accepts any keyword passes it on to its base class, so the parameters of that class are
    included.
    """
    function = target.__init__ if inspect.isclass(target) else target
    signature = inspect.signature(function)  # of the function, because a metaclass can hide the signature of a class
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # names imported only for type checking cannot be resolved
        hints = {}
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    names = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and name != "self"
    ]
    known, open_ended = {name: hints.get(name, Any) for name in names}, inspect.Parameter.VAR_KEYWORD in kinds
    if open_ended and inspect.isclass(target) and issubclass(target, EntityEnv):
        inherited, open_ended = _parameters_of(target.__mro__[1])
        known = {**inherited, **known}
    return known, open_ended
