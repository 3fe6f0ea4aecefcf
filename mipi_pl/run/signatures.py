"""Checks of ``_target_`` nodes in a config against the signatures of their targets."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.envs.base import EntityEnv
from mipi_pl.run.hints import check_value, is_plain, readable, unknown_key
from mipi_pl.run.kinds import factory_of, imported, kind_of, refuse_class, settings_of
from mipi_pl.storage.former_names import moved_key
from mipi_pl.utils.errors import UserError

_MAX_FLOAT = float(torch.finfo(torch.float32).max)
_MAX_INTEGER = int(torch.iinfo(torch.int64).max)
_OF_THE_WORLD = "it follows from the environment"
_OF_THE_PROGRAM: dict[str, dict[str, str]] = {
    "env": {
        "num_envs": "it is num_envs of make_env, and datamodule.num_envs in training",
        "seed": "it follows from the seed of the run or of the evaluation, seed=N",
    },
    "algorithm": {"spec": _OF_THE_WORLD},
    "algorithm.agent": dict.fromkeys(("n_features", "n_kinds", "targets"), _OF_THE_WORLD),
    "algorithm.marginal": dict.fromkeys(("n_features", "n_kinds", "targets"), _OF_THE_WORLD),
    "algorithm.critic": dict.fromkeys(("n_features", "n_kinds", "n_entities"), _OF_THE_WORLD),
    "algorithm.mixer": dict.fromkeys(("n_features", "n_kinds", "n_agents"), _OF_THE_WORLD),
    "trainer": {
        "callbacks": "add entries to callbacks, such as +callbacks.NAME._target_=CLASS",
        "logger": "it is logger=NAME",
        "default_root_dir": "it is a folder below output_dir",
    },
}
"""Arguments that the program passes to a node's target, by the node, with the place where the user chooses them."""
_HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}


def check_targets(node: object, path: str) -> None:
    """Check every ``_target_`` node of a config.

    Args:
        node: the config, or a part of it.
        path: dotted key of `node`, for messages; empty for the whole config.

    Raises:
        UserError: if a node does not match the signature of its target, or a number is NaN or too large for tensors.
    """
    _check_number(node, path)
    if isinstance(node, Mapping):
        if "_target_" in node:
            check_node(node, path)
        for key, value in node.items():
            check_targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for index, value in enumerate(node):
            check_targets(value, f"{path}[{index}]")


def _check_number(value: object, path: str) -> None:
    if isinstance(value, float):
        if math.isnan(value):
            raise UserError(f"{path} is NaN; give a number")
        if math.isfinite(value) and abs(value) > _MAX_FLOAT:
            raise UserError(f"{path} must be at most {_MAX_FLOAT:.3g}, the largest 32-bit number, got {value}")
    elif isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise UserError(f"{path} must be at most {_MAX_INTEGER}, the largest 64-bit integer, got {value}")


def check_node(node: Mapping[Any, Any], path: str) -> None:
    """Check one ``_target_`` node.

    Args:
        node: a mapping with the key ``_target_``.
        path: dotted key of the node, for messages.

    Raises:
        UserError: if the target cannot be imported or makes the wrong kind of object, a key is not one of its
            parameters or is passed by the program itself, or a value does not match the type annotation of its
            parameter.
    """
    target, kind = imported(node["_target_"], path), kind_of(path)
    if kind is not None:
        refuse_class(target, kind, path)
    parameters, open_ended = _parameters_of(target)
    parameters |= settings_of(target)
    refuse_keys_of_the_program(node, path, path)
    parameters = without_keys_of_the_program(parameters, path)
    for key, value in node.items():
        if key in _HYDRA_KEYS:
            continue
        if key not in parameters and not open_ended:
            moved = moved_key(node["_target_"], f"{path}.{key}")
            raise UserError(moved or unknown_key(f"{path}.", str(key), parameters))
        if isinstance(value, Mapping) and "_target_" in value:
            _check_part(parameters.get(key, Any), value, f"{path}.{key}")
        else:
            check_value(parameters.get(key, Any), value, f"{path}.{key}")


def takes(node: object, path: str, key: str) -> bool:
    """Return whether a node has a ``_target_`` with a parameter of this name, which users may set.

    Args:
        node: a part of a config.
        path: dotted key of the node.
        key: name of the parameter.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        return False
    parameters, _ = _parameters_of(imported(node["_target_"], path))
    return key in without_keys_of_the_program(parameters, path)


def refuse_keys_of_the_program(arguments: Mapping[Any, Any], path: str, part: str = "env") -> None:
    """Check that arguments are not among those that the program would overwrite.

    Args:
        arguments: arguments by name.
        path: dotted key of the arguments, for messages.
        part: dotted key of the node whose target takes them.

    Raises:
        UserError: if one of them is; the message says where it is chosen instead.
    """
    passed = _OF_THE_PROGRAM.get(part, {})
    for key in arguments:
        if key in passed:
            raise UserError(f"{path}.{key} cannot be chosen here: {passed[key]}")


def without_keys_of_the_program(arguments: Mapping[str, Any], part: str = "env") -> dict[str, Any]:
    """Return arguments of the target of a node without those that the program passes.

    Configs of earlier versions may have them; they never had an effect.
    """
    passed = _OF_THE_PROGRAM.get(part, {})
    return {key: value for key, value in arguments.items() if key not in passed}


def check_call(node: Mapping[Any, Any], path: str, arguments: Sequence[str]) -> None:
    """Check that the target of a node is a function that can be called with some arguments before those of the node.

    Args:
        node: a mapping with the key ``_target_``.
        path: dotted key of the node, for messages.
        arguments: meaning of each positional argument, for messages.

    Raises:
        UserError: if it is not.
    """
    target = imported(node["_target_"], path)
    try:
        if inspect.isclass(target):
            raise TypeError("it is a class")
        named = {str(key): value for key, value in node.items() if key not in _HYDRA_KEYS}
        inspect.signature(target).bind(*arguments, **named)
    except (TypeError, ValueError) as error:  # ValueError: some functions written in C have no signature
        wanted = ", ".join([*arguments, *(str(key) for key in node if key not in _HYDRA_KEYS)])
        raise UserError(f"{path}._target_ must be a function of ({wanted}), got {node['_target_']}: {error}") from error


def _check_part(hint: Any, node: Mapping[Any, Any], path: str) -> None:
    """Check a ``_target_`` node that is an argument of another one: its parameter must take an object of this kind."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if all(is_plain(option) for option in options):
        raise UserError(f"{path} must be {readable(hint)}, got a node with the _target_ {node['_target_']}")
    if len(objects := [option for option in options if not is_plain(option)]) > 1:
        return
    is_factory, made = factory_of(objects[0])
    if is_factory and not node.get("_partial_"):
        raise UserError(f"{path} must be {readable(hint)}, got a node without _partial_: true")
    if is_factory and made is not None:
        refuse_class(imported(node["_target_"], path), made, path)


def _parameters_of(target: Callable[..., Any]) -> tuple[dict[str, Any], bool]:
    """Return the names and types of the parameters of a class or function, and whether it accepts any keyword.

    The class of an environment or an algorithm that accepts any keyword passes it on to its base class, so the
    parameters of that class are included.
    """
    function = target.__init__ if inspect.isclass(target) else target
    try:  # of the function, because a metaclass can hide the signature of a class
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have no signature
        return {}, True
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
    if open_ended and inspect.isclass(target) and issubclass(target, (EntityEnv, EntityAlgorithm)):
        inherited, open_ended = _parameters_of(_base_of_arguments(target))
        known = {**inherited, **known}
    return known, open_ended


def _base_of_arguments(target: type) -> type:
    """Return the class whose ``__init__`` follows that of `target` in the order of resolution."""
    return [base for base in target.__mro__ if "__init__" in vars(base)][1]
