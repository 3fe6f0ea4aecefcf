"""Construction of the objects of a run from its config; a value that a constructor rejects raises `UserError`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf.errors import OmegaConfBaseException

from mipi_pl.envs.base import EntityEnv, MakeEnv
from mipi_pl.evaluation.worlds import World, worlds_of
from mipi_pl.run.kinds import SETTINGS, kind_of, refuse_object
from mipi_pl.utils.errors import UserError, first_line, reason_of

_REFUSALS = (
    ValueError, TypeError, OverflowError, MisconfigurationException, OSError, EOFError, ImportError, KeyError,
    MemoryError, OmegaConfBaseException,
)  # fmt: skip

_TOO_LARGE = ("allocate memory", "out of memory", "overflow", "Trying to create tensor with negative dimension")
"""Parts of PyTorch's messages for a tensor that cannot be made."""


def build(name: str, node: Mapping[str, Any], **more: Any) -> Any:
    """Build the part of a run that a ``_target_`` node describes.

    Args:
        name: name of the node, for messages and for the kind of the part (`mipi_pl.run.kinds`).
        node: config of the node.
        more: further keyword arguments, which a config cannot hold.

    Raises:
        UserError: if the constructor rejects its arguments, or the part is not of the kind that the node must build.
    """
    kind = kind_of(name)
    settings = {} if kind is None else SETTINGS.get(kind, {})
    # Hydra would convert a dataclass in `more` to a config, so it only builds a factory, which is called here.
    make = factory(name, {key: value for key, value in node.items() if key not in settings})
    with _refusals(name):
        part = make(**more)
    if kind is not None:
        refuse_object(part, kind, name)
    return part


def factory(name: str, node: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the target of a node as a `functools.partial` with the arguments of the node.

    Raises:
        UserError: if an argument that is a ``_target_`` node itself cannot be built.
    """
    with _refusals(name):
        made: Callable[..., Any] = hydra.utils.instantiate({**node, "_partial_": True}, _convert_="all")
        return made


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Turn the exceptions with which a constructor rejects its arguments into a `UserError`.

    Raises:
        UserError: instead of these exceptions; it names the node and gives the message of the first cause.
    """
    try:
        yield
    except (InstantiationException, *_REFUSALS) as error:
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        if not isinstance(cause, (InstantiationException, *_REFUSALS)):
            raise
        raise UserError(f"{name}: {reason_of(cause)}") from error
    except RuntimeError as error:
        if not any(words in str(error) for words in _TOO_LARGE):
            raise
        raise UserError(f"{name}: too large for the memory of this machine ({first_line(error)})") from error


def environment_factory(node: Mapping[str, Any]) -> MakeEnv:
    """Return the factory ``make_env`` for an environment config."""
    return factory("env", node)


@contextmanager
def one_environment(make_env: MakeEnv, **changes: Any) -> Iterator[EntityEnv]:
    """Create a single environment, for example to read its sizes, and close it on exit.

    Raises:
        UserError: if the environment rejects its arguments.
    """
    try:
        env = make_env(num_envs=1, seed=0, **changes)
    except _REFUSALS as error:
        raise UserError(f"env: {reason_of(error)}") from error
    refuse_object(env, EntityEnv, "env")
    env.tolerant = True
    with closing(env):
        yield env


def evaluated_worlds(team_sizes: Sequence[int], others: Mapping[str, Mapping[str, Any]]) -> tuple[World, ...]:
    """Return the worlds of an evaluation as `worlds_of` does, with the objects that ``_target_`` nodes describe.

    Args:
        team_sizes: held-out team sizes.
        others: nodes of ``held_out.worlds``, by name.

    Raises:
        UserError: if a node cannot be built.
    """
    with _refusals("held_out.worlds"):
        return worlds_of(team_sizes, hydra.utils.instantiate(others, _convert_="all"))
