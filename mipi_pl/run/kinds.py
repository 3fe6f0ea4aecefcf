"""The kind of object that each ``_target_`` of a config must make."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import typing
from collections.abc import Callable
from functools import partial
from typing import Any

from lightning import Callback, LightningDataModule, Trainer
from lightning.pytorch.loggers import Logger

from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.envs.base import EntityEnv
from mipi_pl.storage.former_names import present_name
from mipi_pl.utils.errors import UserError

KINDS: dict[str, type] = {
    "env": EntityEnv,
    "algorithm": EntityAlgorithm,
    "datamodule": LightningDataModule,
    "trainer": Trainer,
}
"""Required class of the part that each node of train.yaml builds."""
INIT_FROM = "init_from"
SETTINGS: dict[type, dict[str, Any]] = {EntityAlgorithm: {INIT_FROM: str | None}}
"""Keys of a part that the run reads itself, with their types; they are not passed to the constructor."""
_ENTRIES: dict[str, type] = {"callbacks": Callback, "logger": Logger}
"""Required class of each entry of a group."""


def kind_of(path: str) -> type | None:
    """Return the class that the node with this dotted key must build; None if any object will do."""
    group, _, entry = path.partition(".")
    if not entry:
        return KINDS.get(group)
    return None if "." in entry else _ENTRIES.get(group)


def settings_of(target: object) -> dict[str, Any]:
    """Return the keys in `SETTINGS` of the parts that a class makes, with their types."""
    kinds = (kind for kind in SETTINGS if inspect.isclass(target) and issubclass(target, kind))
    return {key: hint for kind in kinds for key, hint in SETTINGS[kind].items()}


def imported(target: object, path: str) -> Callable[..., Any]:
    """Import the class or function that a ``_target_`` names.

    Args:
        target: value of ``_target_``.
        path: dotted key of the node, for messages.

    Raises:
        UserError: if it is not the name of a class or function, or it cannot be imported.
    """
    if not isinstance(target, str):
        raise UserError(f"{path}._target_ must be the dotted name of a class or function, got {target!r}")
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # a module can raise anything when it is imported
        reason = f"{error or type(error).__name__}{_advice(target)}"
        raise UserError(f"{path}._target_: cannot import {target!r} ({reason})") from error
    if not callable(found):
        raise UserError(f"{path}._target_ must name a class or function, got {target} = {found!r}")
    return typing.cast(Callable[..., Any], found)


def _advice(target: str) -> str:
    """Return the present name of a class that cannot be imported, if an older version had it by this name."""
    present = present_name(target)
    try:
        exists = present != target and importlib.util.find_spec(present.rpartition(".")[0]) is not None
    except ImportError:
        exists = False
    return f"; {target} is now {present}" if exists else ""


def refuse_class(target: object, kind: type, path: str) -> None:
    """Check that a class, or a function with an annotated result, makes objects of a kind, before it is called.

    A function without an annotation is checked after the call, by `refuse_object`.

    Raises:
        UserError: if it makes objects of another kind.
    """
    made = target if inspect.isclass(target) else _result_of(target)
    if inspect.isclass(made) and not issubclass(made, kind):
        name = getattr(target, "__qualname__", str(target))
        raise UserError(f"{path}._target_ must make {_article(kind)}, got {name}")


def refuse_object(value: object, kind: type, path: str) -> None:
    """Check that an object that was built from a config is of a kind.

    Raises:
        UserError: if it is not.
    """
    if not isinstance(value, kind):
        advice = "; remove its _partial_" if isinstance(value, partial) else ""
        raise UserError(f"{path}._target_ must make {_article(kind)}, got {_article(type(value))}{advice}")


def factory_of(hint: Any) -> tuple[bool, type | None]:
    """Return whether a type hint asks for a factory, and the class that the factory must make, if the hint names one.

    Factories are callables: ``Callable[..., Mixer]``, or a protocol with ``__call__``.
    """
    if typing.get_origin(hint) is Callable or hint is Callable:
        parts = typing.get_args(hint)
        made = parts[-1] if parts else None
        return True, made if inspect.isclass(made) else None
    if inspect.isclass(hint) and getattr(hint, "_is_protocol", False) and "__call__" in vars(hint):
        made = _result_of(hint.__call__)
        return True, made if inspect.isclass(made) else None
    return False, None


def _result_of(function: object) -> object:
    try:
        return typing.get_type_hints(function).get("return")
    except Exception:  # not a function, or a name imported only for type checking
        return None


def _article(kind: type) -> str:
    return f"{'an' if kind.__name__[:1] in 'AEIOUaeiou' else 'a'} {kind.__name__}"
