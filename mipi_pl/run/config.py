"""Validation of configs before a folder is created or a network is built.

A node with a ``_target_`` must match the signature of its target, in its keys and in simple types
(`mipi_pl.run.signatures`). Every other node must have the fields of a class in `mipi_pl.run.schema`. NaN and
numbers that no tensor can hold are rejected everywhere.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from omegaconf import DictConfig, OmegaConf

from mipi_pl.evaluation.worlds import TRAINING, require_episodes
from mipi_pl.run.hints import check_value, listed, unknown_key
from mipi_pl.run.schema import Config, Evaluation, HeldOut, Node
from mipi_pl.run.signatures import check_call, check_targets, refuse_keys_of_the_program
from mipi_pl.run.unresolved import unmerged
from mipi_pl.utils.checks import require_lost_after
from mipi_pl.utils.errors import UserError

GROUPS = ("callbacks", "logger")
"""Nodes whose entries are nodes with a ``_target_``; they may be empty."""
_MAX_THREADS = 1024
_MAX_SEED = 2**32 - 1


def resolve(composed: DictConfig, name: str = "the config") -> Node:
    """Resolve the interpolations of a composed config and convert it to plain containers.

    Args:
        composed: config with interpolations.
        name: what it is, for the message.

    Raises:
        UserError: if an interpolation cannot be resolved or a mandatory value is missing.
    """
    try:
        config = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except Exception as error:  # a resolver, such as ${oc.decode:...}, can raise anything
        raise unmerged(error, f"{name} cannot be resolved", composed) from error
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def check_structure(composed: DictConfig) -> None:
    """Check that every node of train.yaml is a mapping, before interpolations are resolved.

    Raises:
        UserError: if a node is missing or has been replaced by a number, a text or a list.
    """
    content = OmegaConf.to_container(composed)
    assert isinstance(content, dict)
    for name, hint in typing.get_type_hints(Config).items():
        if not typing.is_typeddict(hint) and hint != Node:
            continue
        if name not in content:
            raise UserError(f"{name} is missing; leave it as it is, or choose another file of configs/{name}/")
        node = content[name]
        is_group = isinstance(node, str) and node.startswith("${") and name != "run"
        if not (isinstance(node, dict) or is_group or (node is None and name in GROUPS)):
            raise UserError(f"{name} must be a mapping, got {node!r}; to change an entry of it, write {name}.KEY=...")


def check_train(config: Node) -> Config:
    """Check a training config as far as possible without creating anything, and return it.

    Raises:
        UserError: at the first mistake; the message names the key, the expected value and the value it got.
    """
    _check_fields(config, Config, "")
    check_evaluation(config["held_out"], config["seed"])
    _at_least(1, config["total_frames"], "total_frames")
    _check_threads(config["threads"])
    _required(require_lost_after, "lost_after_s", config["lost_after_s"])
    for name in ("env", "algorithm", "datamodule", "trainer"):
        if "_target_" not in config[name]:
            raise UserError(f"{name} needs a _target_: choose a config file of configs/{name}/")
    if "_target_" not in config["picture"]:
        raise UserError("picture needs a _target_: a function such as mipi_pl.evaluation.figures.draw_results")
    for group in GROUPS:
        for name, node in config[group].items():
            if not isinstance(node, dict) or "_target_" not in node:
                known = listed(map(str, config[group]))
                raise UserError(f"{group}.{name} must be a node with a _target_, got {node!r}; known: {known}")
    check_targets(config, "")
    check_call(config["picture"], "picture", ("path", "title", "evaluations", "policies"))
    return cast(Config, config)


def check_eval(wanted: Evaluation) -> None:
    """Check the fields of eval.yaml; each of them may be null.

    Raises:
        UserError: at the first mistake.
    """
    check_value(int | None, wanted["seed"], "seed")
    check_value(str | None, wanted["output_dir"], "output_dir")
    check_value(int | None, wanted["threads"], "threads")
    _check_threads(wanted["threads"])
    for key, hint in typing.get_type_hints(HeldOut).items():
        if (value := wanted["held_out"].get(key)) is not None:
            check_value(hint, value, f"held_out.{key}")


def check_evaluation(held_out: HeldOut, seed: int, sizes: str = "held_out.team_sizes") -> None:
    """Check the values of `held_out`, for training and for `mipi eval`.

    Args:
        held_out: settings of the evaluations.
        seed: seed of the run or of the evaluations.
        sizes: key by which the user named the team sizes, for messages.

    Raises:
        UserError: at the first mistake.
    """
    _required(require_episodes, "held_out.episodes", held_out["episodes"])
    check_seed(held_out["seed"], "held_out.seed")
    check_seed(seed, "seed")
    for size in held_out["team_sizes"]:
        _at_least(1, size, sizes)
    if len(set(held_out["team_sizes"])) != len(held_out["team_sizes"]):
        raise UserError(f"{sizes} names a size twice: {held_out['team_sizes']}")
    taken = {TRAINING, *map(str, held_out["team_sizes"])}
    for name, changes in held_out["worlds"].items():
        if not isinstance(name, str):
            raise UserError(
                f"held_out.worlds: each name must be a text, got {name!r}: write it in quotes, or as size_{name}"
            )
        if name in taken:
            raise UserError(f"held_out.worlds.{name}: an evaluation of this name exists already; choose another name")
        if not isinstance(changes, Mapping):
            raise UserError(
                f"held_out.worlds.{name} must be a mapping of environment arguments, such as {{team_sizes: [9, 10]}}, "
                f"got {changes!r}"
            )
        refuse_keys_of_the_program(changes, f"held_out.worlds.{name}")


def _check_fields(config: dict[str, Any], schema: type, path: str) -> None:
    hints = typing.get_type_hints(schema)
    for key in config:
        if key not in hints:
            raise UserError(unknown_key(path, str(key), hints))
    for key, hint in hints.items():
        name = f"{path}{key}"
        if key not in config:
            raise UserError(f"{name} is missing")
        value = config[key]
        if value is None and hint == Node:
            config[key] = value = {}  # an empty group of configs is null in YAML
        check_value(dict if typing.is_typeddict(hint) else hint, value, name)
        if typing.is_typeddict(hint):
            _check_fields(value, hint, f"{name}.")


def _check_threads(threads: int | None) -> None:
    if threads is not None and not 1 <= threads <= _MAX_THREADS:
        raise UserError(f"threads must be at least 1 and at most {_MAX_THREADS}, got {threads}")


def _required(check: Callable[[str, Any], None], name: str, value: Any) -> None:
    """Apply a check that raises ValueError."""
    try:
        check(name, value)
    except ValueError as error:
        raise UserError(str(error)) from error


def _at_least(low: int, value: int, name: str) -> None:
    if value < low:
        raise UserError(f"{name} must be at least {low}, got {value}")


def check_seed(seed: object, name: str) -> None:
    """Check that a seed is one that random generators take.

    Raises:
        UserError: if it is not.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed <= _MAX_SEED:
        raise UserError(f"{name} must be an integer between 0 and {_MAX_SEED}, got {seed!r}")
