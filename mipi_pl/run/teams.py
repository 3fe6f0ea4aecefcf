"""Which compositions a run trains on and which it is evaluated on: checked, shown and stored with the results."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.composition import Composition
from mipi_pl.evaluation.worlds import MakeEnv, World, WorldError, size_range, worlds_of
from mipi_pl.run.build import environment_factory, one_environment
from mipi_pl.run.config import Config
from mipi_pl.utils.errors import UserError


@dataclass(frozen=True)
class Teams:
    """The compositions of a run.

    Attributes:
        training: those that training draws.
        held_out: those of each evaluation beside the training teams, under its name.
        unplayed: held out by the world's split and played by no evaluation.
    """

    training: tuple[Composition, ...]
    held_out: dict[str, tuple[Composition, ...]]
    unplayed: tuple[Composition, ...]

    def as_json(self) -> dict[str, Any]:
        """Labels, for results.json."""
        return {
            "training": [c.label for c in self.training],
            "held_out": {name: [c.label for c in found] for name, found in self.held_out.items()},
        }

    def notes(self) -> list[str]:
        """What the user should know about a split that is valid."""
        if not self.unplayed:
            return []
        labels = ", ".join(c.label for c in self.unplayed)
        return [f"note: held out and never played: {labels}; add +held_out.worlds.mixes.mixes=held_out"]

    def table(self) -> str:
        """Counts and all labels, by evaluation and team size."""
        held_out = {c for found in self.held_out.values() for c in found}
        head = f"{len(self.training)} compositions in training, {len(held_out)} held out"
        parts = {"training": self.training, **{f"held out {name!r}": found for name, found in self.held_out.items()}}
        return "\n".join([head, *(_listed(name, found) for name, found in parts.items()), *self.notes()])


def teams_of(config: Config) -> Teams:
    """The compositions of a checked config.

    Raises:
        UserError: if training draws what the world's split holds out, an evaluation that is held out by its teams alone
            shares compositions with training, or a world refuses its arguments or has no room for the policy.
    """
    make_env, evaluated = environment_factory(config["env"]), config["held_out"]
    with one_environment(make_env) as env:
        if both := [c.label for c in env.compositions if c in env.withheld]:
            raise UserError(
                f"env.mixes trains on what env.split holds out: {', '.join(both)}; choose env.mixes=training or leave "
                "them out of one of both"
            )
        worlds = worlds_of(evaluated["team_sizes"], evaluated["worlds"])[1:]
        held_out = {world.name: _held_out(world, make_env, env, evaluated["seed"]) for world in worlds}
        played = {*env.compositions, *(c for compositions in held_out.values() for c in compositions)}
        return Teams(env.compositions, held_out, tuple(c for c in env.withheld if c not in played))


def _held_out(world: World, make_env: MakeEnv, env: EntityEnv, seed: int) -> tuple[Composition, ...]:
    """The compositions of one evaluation, none of which is one of training."""
    try:
        with closing(world.environment(make_env, 1, seed, env.entity_spec)) as other:
            compositions = other.compositions
    except WorldError as error:
        sizes = "; held_out.team_sizes=[...] names the sizes that are evaluated, held_out.team_sizes=[] none"
        raise UserError(f"held_out: {error}{sizes if set(world.changes) == {'team_sizes'} else ''}") from error
    shared = [c.label for c in compositions if c in set(env.compositions)]
    if shared and set(world.changes) <= set(env.team_arguments):
        raise UserError(
            f"held_out: evaluation {world.name!r} plays compositions of training: {', '.join(shared)}; leave them out "
            f"of one of both (training has teams of {size_range(sorted({c.size for c in env.compositions}))})"
        )
    return compositions


def _listed(name: str, compositions: Iterable[Composition]) -> str:
    found = list(compositions)
    lines = [f"\n{name}: {len(found)}"]
    for size, of_size in groupby(found, key=lambda c: c.size):
        labels = [c.label for c in of_size]
        lines += [f"  {size} agents, {len(labels)}:", *(f"    {label}" for label in labels)]
    return "\n".join(lines)
