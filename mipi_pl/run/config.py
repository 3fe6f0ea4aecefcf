"""Configs are checked here, before a folder is made or a network built: one clear message for each mistake.

Two rules find mistakes. A node with a ``_target_`` must fit the signature of what it names, keys and simple types;
every other node must have the fields of one of the dataclasses below. A number that is NaN is refused everywhere.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mipi_pl.envs.base import EntityEnv
from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.utils.errors import UserError

Config = dict[str, Any]
"""A resolved config: plain containers, numbers, strings and None, so that it fits into a checkpoint."""

_HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}
_MAX_SEED = 2**32 - 1


@dataclass
class HeldOut:
    """What is evaluated besides the training teams; one evaluation each.

    Attributes:
        team_sizes: team sizes, each evaluated on its own.
        worlds: further evaluations: a name to the environment arguments that differ from training.
        episodes: greedy episodes per evaluation, at the start and at the end of training.
        seed: of the evaluation environments; apart from the training seed, so that runs are compared on equal teams.
        baselines: scripted policies to play the same episodes; None takes all that the environment has.
    """

    team_sizes: list[int]
    worlds: dict[str, dict[str, Any]]
    episodes: int
    seed: int
    baselines: list[str] | None


@dataclass
class MixerNetwork:
    """What mixers with attention have in common.

    Attributes:
        width: embedding of entities and attention.
        heads: attention heads.
        mixing: mixing units.
        pool: entities that weights are pooled over: ``slots`` or ``present``.
    """

    width: int
    heads: int
    mixing: int
    pool: str


@dataclass
class Network:
    """What the networks of all agents have in common; algorithms, mixers and environments refer to it.

    Attributes:
        width: embedding of entities and attention.
        heads: attention heads.
        hidden: recurrent state.
        own_path: whether the recurrence takes a linear map of the agent's own entity beside the attention.
        pair_units: units of the pair scores of target actions; 0 for none.
        normalize: LayerNorm after attention and recurrence.
        target_actions: of battles: ``slots`` or ``tags``.
        mixer: of the mixer, where there is one.
    """

    width: int
    heads: int
    hidden: int
    own_path: bool
    pair_units: int
    normalize: bool
    target_actions: str
    mixer: MixerNetwork


@dataclass
class Train:
    """The top level of train.yaml. Fields that are a `dict` hold nodes with a ``_target_``."""

    seed: int
    total_frames: int
    output_dir: str
    config_dir: str | None
    threads: int | None
    fused: bool
    held_out: HeldOut
    run: dict[str, Any]
    network: Network
    env: dict[str, Any]
    algorithm: dict[str, Any]
    datamodule: dict[str, Any]
    callbacks: dict[str, Any]
    trainer: dict[str, Any]
    logger: dict[str, Any]
    picture: dict[str, Any]


def resolve(composed: DictConfig) -> Config:
    """A composed config as plain containers.

    Raises:
        UserError: for an interpolation that leads nowhere or a mandatory value that is missing.
    """
    try:
        config = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(str(error)) from error
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def check_train(config: Config) -> None:
    """Everything that can be known before anything is created.

    Raises:
        UserError: at the first mistake; the message names the key, what was expected and what was got.
    """
    _check_fields(config, Train, "")
    held_out = config["held_out"]
    _check_fields(held_out, HeldOut, "held_out.")
    _check_fields(config["network"], Network, "network.")
    _check_fields(config["network"]["mixer"], MixerNetwork, "network.mixer.")
    check_evaluation(held_out, config["seed"])
    _at_least(1, config["total_frames"], "total_frames")
    if config["threads"] is not None:
        _at_least(1, config["threads"], "threads")
    for name in ("env", "algorithm", "datamodule", "trainer"):
        if "_target_" not in config[name]:
            raise UserError(f"{name} needs a _target_: choose a config file of configs/{name}/")
    if "_target_" not in config["picture"]:
        raise UserError("picture needs a _target_: a function such as mipi_pl.evaluation.figures.draw_results")
    for group in ("callbacks", "logger"):
        for name, node in config[group].items():
            if not isinstance(node, dict) or "_target_" not in node:
                raise UserError(
                    f"{group}.{name} must be a node with a _target_, got {node!r}; known: {_names(config[group])}"
                )
    check_targets(config, "")


def check_eval(wanted: Config) -> None:
    """The fields of eval.yaml, which may all be null.

    Raises:
        UserError: at the first mistake.
    """
    for key, hint in (("seed", int | None), ("output_dir", str | None), ("threads", int | None)):
        if not accepts(hint, wanted[key]):
            raise UserError(f"{key} must be {_readable(hint)}, got {wanted[key]!r}")
    if wanted["threads"] is not None:
        _at_least(1, wanted["threads"], "threads")
    for key, hint in typing.get_type_hints(HeldOut).items():
        value = wanted["held_out"].get(key)
        if value is not None and not accepts(hint, value):
            raise UserError(f"held_out.{key} must be {_readable(hint)}, got {value!r}")


def check_evaluation(held_out: Config, seed: int) -> None:
    """The values of `held_out`, which training and `mipi eval` share."""
    _at_least(1, held_out["episodes"], "held_out.episodes")
    _in_seed_range(held_out["seed"], "held_out.seed")
    _in_seed_range(seed, "seed")
    for size in held_out["team_sizes"]:
        _at_least(1, size, "held_out.team_sizes")
    if len(set(held_out["team_sizes"])) != len(held_out["team_sizes"]):
        raise UserError(f"held_out.team_sizes names a size twice: {held_out['team_sizes']}")
    taken = {TRAINING, *map(str, held_out["team_sizes"])}
    for name, changes in held_out["worlds"].items():
        if not isinstance(name, str):
            raise UserError(
                f"held_out.worlds: each name must be a text, got {name!r}: write it in quotes, or as size_{name}"
            )
        if name in taken:
            raise UserError(f"held_out.worlds.{name}: there is an evaluation of this name already; choose another")
        if not isinstance(changes, Mapping):
            raise UserError(
                f"held_out.worlds.{name} must be a mapping of environment arguments, such as {{team_sizes: [9, 10]}}, "
                f"got {changes!r}"
            )


def check_targets(node: object, path: str) -> None:
    """Every ``_target_`` below `node` fits its signature, and no number is NaN."""
    if isinstance(node, float) and math.isnan(node):
        raise UserError(f"{path} is NaN; give a number")
    if isinstance(node, Mapping):
        if "_target_" in node:
            check_node(node, path)
        for key, value in node.items():
            check_targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for place, value in enumerate(node):
            check_targets(value, f"{path}[{place}]")


def check_node(node: Mapping[Any, Any], path: str) -> None:
    """The keys of a ``_target_`` node are parameters of the target, and simple values have the annotated types."""
    module, _, name = str(node["_target_"]).rpartition(".")
    try:
        target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{path}._target_: cannot import {node['_target_']!r} ({error})") from error
    parameters, open_ended = parameters_of(target)
    for key, value in node.items():
        if key in _HYDRA_KEYS:
            continue
        if key not in parameters and not open_ended:
            raise UserError(unknown_key(f"{path}.", str(key), parameters))
        if not _is_node(value) and not accepts(parameters.get(key, Any), value):
            raise UserError(f"{path}.{key} must be {_readable(parameters[key])}, got {value!r}")


def parameters_of(target: Callable[..., Any]) -> tuple[dict[str, Any], bool]:
    """Names and types of the parameters of a class or function, and whether it takes any keyword.

    A class of an environment that takes any keyword passes it on to the class it derives from.
    """
    function = target.__init__ if inspect.isclass(target) else target
    signature = inspect.signature(function)  # a metaclass may hide the class's own
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # names that exist for the type checker alone cannot be looked up
        hints = {}
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    names = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and name != "self"
    ]
    known, open_ended = {name: hints.get(name, Any) for name in names}, inspect.Parameter.VAR_KEYWORD in kinds
    if open_ended and inspect.isclass(target) and issubclass(target, EntityEnv):
        inherited, open_ended = parameters_of(target.__mro__[1])
        known = {**inherited, **known}
    return known, open_ended


def accepts(hint: Any, value: object) -> bool:
    """Whether `value` can be what `hint` says. Only simple types are judged; for others the answer is yes."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(accepts(option, value) for option in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool):
        return isinstance(value, hint)
    container = origin or hint
    if container in (list, tuple, set, Sequence):
        if not isinstance(value, (list, tuple)):
            return False
        entries = [entry for entry in typing.get_args(hint) if entry is not Ellipsis]
        return len(entries) != 1 or all(accepts(entries[0], entry) for entry in value)
    if container in (dict, Mapping):
        return isinstance(value, Mapping)
    return True


def _check_fields(config: Config, schema: type, path: str) -> None:
    hints = typing.get_type_hints(schema)
    for key in config:
        if key not in hints:
            raise UserError(unknown_key(path, str(key), hints))
    for field in dataclasses.fields(schema):
        hint, name = hints[field.name], f"{path}{field.name}"
        if field.name not in config:
            raise UserError(f"{name} is missing")
        value = config[field.name]
        if value is None and hint == dict[str, Any]:
            config[field.name] = value = {}  # an empty group of configs is null in YAML
        if dataclasses.is_dataclass(hint):
            hint = dict
        if not accepts(hint, value):
            raise UserError(f"{name} must be {_readable(hint)}, got {value!r}")


def _is_node(value: object) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def unknown_key(path: str, key: str, known: typing.Iterable[str]) -> str:
    """The message for a key that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(key, list(known), n=1)
    hint = (
        f"did you mean {path}{near[0]}?" if near else f"known keys: {_names(name for name in known if '.' not in name)}"
    )
    return f"unknown key {path}{key}; {hint}"


def _names(names: typing.Iterable[str]) -> str:
    return ", ".join(sorted(name for name in names if name != "self")) or "none"


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
    names = {
        int: "an integer",
        float: "a number",
        str: "a text",
        bool: "true or false",
        type(None): "null",
        dict: "a mapping",
    }
    return names.get(hint, str(hint))


def _at_least(low: int, value: int, name: str) -> None:
    if value < low:
        raise UserError(f"{name} must be at least {low}, got {value}")


def _in_seed_range(seed: int, name: str) -> None:
    if not 0 <= seed <= _MAX_SEED:
        raise UserError(f"{name} must be between 0 and {_MAX_SEED}, got {seed}")
