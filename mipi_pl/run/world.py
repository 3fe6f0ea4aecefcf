"""A single world from its name and overrides, without a run around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

import torch

from mipi_pl.envs.base import EntityEnv
from mipi_pl.run.build import build
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve
from mipi_pl.run.overrides import Override, as_words
from mipi_pl.run.signatures import check_targets
from mipi_pl.utils.checks import require_seed
from mipi_pl.utils.errors import UserError


def make_world(
    overrides: Iterable[Override],
    num_envs: int,
    seed: int,
    team_size: int | None = None,
    composition: Mapping[str, int] | None = None,
    device: str | torch.device = "cpu",
) -> tuple[EntityEnv, str]:
    """Make an environment from overrides, without building anything else of a run.

    Args:
        overrides: words of the command line, where one without ``=``, such as ``sz``, stands for ``env=sz``, or
            dictionaries of arguments of the environment.
        num_envs: B, number of episodes stepped at once.
        seed: seed of the episodes.
        team_size: number of agents; there are as many agent slots. None leaves the sizes to the config.
        composition: the only team, such as ``{"stalker": 3, "zealot": 2}``; there are as many agent slots. None leaves
            the teams to the config.
        device: device of the tensors.

    Returns:
        The environment, and its name in configs/env.

    Raises:
        UserError: if an override or the seed is invalid, or the world has no such team.
    """
    words = as_words(overrides, within="env")
    named = [word for word in words if "=" not in word or word.partition("=")[0] in ("env", "experiment")]
    if not named:
        raise UserError("name a world, such as 'sz'")
    chosen = {word.lstrip("+").partition("=")[0] for word in words}
    for name in {"seed", "num_envs", "device"} & chosen:
        raise UserError(f"{name} is an argument of this function: write {name}=..., not a word of the command line")
    try:
        require_seed(seed)
    except ValueError as error:
        raise UserError(str(error)) from error
    if not _is_number(num_envs):
        raise UserError(f"num_envs must be a whole number from 1, got {num_envs!r}")
    composed = compose([word if "=" in word else f"env={word}" for word in words])
    for key, value in _team(team_size, composition).items():
        if key not in composed.env:
            raise UserError(f"{composed.run.environment} takes no {_name_of(composition)}: it has no env.{key}")
        if f"env.{key}" not in chosen:
            composed.env[key] = value
        elif key != "capacity":
            raise UserError(f"give the team either by {_name_of(composition)} or by env.{key}, got both")
    node = resolve(composed)["env"]
    check_targets(node, "env")
    # An environment of the user's own need not take a device.
    placed = {} if _is_processor(device) else {"device": device}
    env: EntityEnv = build("env", node, num_envs=num_envs, seed=seed, **placed)
    return env, composed.run.environment


def _team(team_size: int | None, composition: Mapping[str, int] | None) -> dict[str, Any]:
    """Return the keys of the environment that a fixed team sets.

    Raises:
        UserError: if both a size and a composition are given, or one of them is not a number of agents.
    """
    if composition is None:
        if team_size is None:
            return {}
        if not _is_number(team_size):
            raise UserError(f"team_size must be a whole number from 1, got {team_size!r}")
        return {"team_sizes": [int(team_size)], "capacity": int(team_size)}
    if team_size is not None:
        raise UserError(f"give either team_size or composition, got {team_size} and {dict(composition)}")
    if not composition or not all(_is_number(count) for count in composition.values()):
        raise UserError(
            f"composition must give a number of agents per type, such as {{'zealot': 3}}, got {composition}"
        )
    mix = {name: int(count) for name, count in composition.items()}
    size = sum(mix.values())
    return {"team_sizes": [size], "capacity": size, "mixes": [mix]}


def _name_of(composition: Mapping[str, int] | None) -> str:
    return "team_size" if composition is None else "composition"


def _is_processor(device: object) -> bool:
    """Return whether a device is the processor.

    Raises:
        UserError: if PyTorch knows no such device.
    """
    try:
        return torch.device(device).type == "cpu"  # type: ignore[call-overload]
    except (RuntimeError, TypeError) as error:
        raise UserError(f"device must be one of PyTorch, such as 'cpu' or 'cuda:0', got {device!r}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0
