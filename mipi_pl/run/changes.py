"""The overrides of `mipi eval` and `mipi watch`: changes of the config of a run that has been trained."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from mipi_pl.run.config import check_eval, resolve
from mipi_pl.run.hints import unknown_key
from mipi_pl.run.schema import Evaluation, Node
from mipi_pl.run.unresolved import unmerged
from mipi_pl.utils.errors import UserError, one_message

_OPEN = ("env.", "held_out.worlds.")
"""Prefixes below which any key is accepted; those keys are checked against the environment."""


def read_overrides(overrides: Sequence[str], worlds: Node) -> Evaluation:
    """Return eval.yaml with its overrides, checked.

    Interpolations are resolved, except those below ``env``, which refer to the environment of the run: see `merged`.

    Args:
        overrides: command-line overrides; their keys are those of eval.yaml.
        worlds: ``held_out.worlds`` of the run, which ``held_out.worlds.NAME`` adds to or changes.

    Raises:
        UserError: if eval.yaml does not have a key, or a value has another type or cannot be resolved.
    """
    wanted = OmegaConf.create(files("mipi_pl.configs").joinpath("eval.yaml").read_text(encoding="utf-8"))
    assert isinstance(wanted, DictConfig)
    known = ["held_out." + str(name) for name in wanted.held_out] + list(map(str, wanted))
    parsed = parsed_overrides(overrides)
    # env.team_sizes replaces the evaluations of the run; without it, held_out.worlds adds to them or changes them.
    replaces_worlds = any(override.key_or_group == "env.team_sizes" for override in parsed)
    for override in parsed:
        key = _checked_key(override, known)
        try:
            if key.startswith("held_out.worlds.") and _content(wanted)["held_out"]["worlds"] is None:
                wanted.held_out.worlds = {} if replaces_worlds else worlds
            OmegaConf.update(wanted, key, override.value(), force_add=True)
        except Exception as error:
            raise unmerged(error, str(override.input_line)) from error
    return _checked(wanted, known)


def merged(env: Node, changes: Node) -> Node:
    """Return the config of an environment with changed arguments; interpolations in them refer to its other arguments.

    Raises:
        UserError: if a change does not fit, such as a list in the place of a mapping, or it cannot be resolved.
    """
    _refuse_misfit(env, changes, "env")
    try:
        both = OmegaConf.merge(env, changes)
    except Exception as error:
        raise unmerged(error, "env") from error
    assert isinstance(both, DictConfig)
    return resolve(both, "env")


def _refuse_misfit(present: Node, changes: Node, path: str) -> None:
    """Refuse a list in the place of a mapping, and a mapping in the place of a list, at any depth."""
    for key, value in changes.items():
        known, name = present.get(key), f"{path}.{key}"
        if isinstance(known, dict) and isinstance(value, dict):
            _refuse_misfit(known, value, name)
        elif isinstance(known, (dict, list)) and isinstance(value, (dict, list)) and type(known) is not type(value):
            raise UserError(f"{name} must be {'a mapping' if isinstance(known, dict) else 'a list'}, got {value!r}")


def parsed_overrides(overrides: Sequence[str]) -> list[Override]:
    """Return overrides of the command line, parsed by Hydra's grammar.

    Raises:
        UserError: if one of them cannot be read.
    """
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise UserError(f"cannot read the overrides: {one_message(error)}") from error


def _checked_key(override: Override, known: Sequence[str]) -> str:
    """Return the key of an override, if eval.yaml has it and the override gives it one value."""
    key = override.key_or_group
    if key in ("env", "held_out") and not (override.is_delete() or isinstance(override.value(), dict)):
        raise UserError(f"{key} is not one value: change a key in it, such as {key}.team_sizes=[6,7]")
    if override.is_delete() or override.is_sweep_override():
        raise UserError(f"each key takes one value, got {override.input_line}")
    if key not in known and not key.startswith(_OPEN):
        raise UserError(unknown_key("", key, known))
    return key


def _checked(wanted: DictConfig, known: Sequence[str]) -> Evaluation:
    content = _content(wanted)
    env = content.pop("env")
    config = cast(Evaluation, {**resolve(OmegaConf.create(content), "the overrides"), "env": env})
    for name in config["held_out"]:
        if f"held_out.{name}" not in known:
            raise UserError(unknown_key("", f"held_out.{name}", known))
    check_eval(config)
    return config


def _content(wanted: DictConfig) -> Node:
    """Return the content without resolving its interpolations, each of which is a text."""
    content = OmegaConf.to_container(wanted)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}
