"""A single world from the words of the command line, without a run around it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import torch

from mipi_pl.envs.base import EntityEnv
from mipi_pl.run.build import build
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve
from mipi_pl.run.signatures import check_targets
from mipi_pl.utils.errors import UserError


def make_world(
    words: Sequence[str],
    num_envs: int,
    seed: int,
    team_size: int | None = None,
    composition: Mapping[str, int] | None = None,
    device: str | torch.device = "cpu",
) -> EntityEnv:
    """Make an environment from overrides, without building anything else of a run.

    Args:
        words: overrides of the command line; a word without ``=``, such as ``sz``, stands for ``env=sz``.
        num_envs: B, number of episodes stepped at once.
        seed: seed of the episodes.
        team_size: number of agents; there are as many agent slots. None leaves the sizes to the config.
        composition: the only team, such as ``{"stalker": 3, "zealot": 2}``; there are as many agent slots. None leaves
            the teams to the config.
        device: device of the tensors.

    Raises:
        UserError: if an override is invalid, or the world has no such team.
    """
    if not words:
        raise UserError("name a world, such as 'sz'")
    overrides = [word if "=" in word else f"env={word}" for word in words]
    composed = compose([*overrides[:1], *_team(team_size, composition), *overrides[1:]])
    node = resolve(composed)["env"]
    check_targets(node, "env")
    env: EntityEnv = build("env", node, num_envs=num_envs, seed=seed, device=device)
    return env


def _team(team_size: int | None, composition: Mapping[str, int] | None) -> list[str]:
    """Return the overrides for a fixed team.

    Raises:
        UserError: if both a size and a composition are given, or one of them is not a number of agents.
    """
    if composition is None:
        if team_size is None:
            return []
        if not _is_number(team_size):
            raise UserError(f"team_size must be a whole number from 1, got {team_size!r}")
        return [f"env.team_sizes=[{team_size}]", f"env.capacity={team_size}"]
    if team_size is not None:
        raise UserError(f"give either team_size or composition, got {team_size} and {dict(composition)}")
    if not composition or not all(_is_number(count) for count in composition.values()):
        raise UserError(
            f"composition must give a number of agents per type, such as {{'zealot': 3}}, got {composition}"
        )
    size = sum(composition.values())
    mix = json.dumps(dict(composition)).replace('"', "")
    return [f"env.team_sizes=[{size}]", f"env.capacity={size}", f"env.mixes=[{mix}]"]


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
