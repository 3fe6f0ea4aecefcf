"""The compositions that a run trains on and is evaluated on."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mipi_pl.envs.base import EntityEnv, MakeEnv
from mipi_pl.envs.composition import Composition
from mipi_pl.evaluation.worlds import World, WorldError, measure_of, size_range
from mipi_pl.run.build import environment_factory, evaluated_worlds, one_environment
from mipi_pl.run.schema import Config
from mipi_pl.utils.errors import UserError


@dataclass(frozen=True)
class Teams:
    """The compositions of a run.

    Attributes:
        training: compositions that training samples from.
        held_out: compositions of each evaluation other than the training teams, by its name.
        unplayed: compositions that the split of the environment holds out and no evaluation plays.
    """

    training: tuple[Composition, ...]
    held_out: dict[str, tuple[Composition, ...]]
    unplayed: tuple[Composition, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the labels of the compositions for results.json."""
        return {
            "training": [c.label for c in self.training],
            "held_out": {name: [c.label for c in group] for name, group in self.held_out.items()},
        }

    def notes(self) -> list[str]:
        """Return notes for the user about a valid split."""
        if not self.unplayed:
            return []
        labels = ", ".join(c.label for c in self.unplayed)
        return [f"note: held out and never played: {labels}; play them with +held_out.worlds.mixes.mixes=held_out"]

    def table(self) -> str:
        """Return a text with the counts and labels of all compositions, by evaluation and team size."""
        held_out = {c for group in self.held_out.values() for c in group}
        head = f"{len(self.training)} compositions in training, {len(held_out)} held out"
        groups = {"training": self.training, **{f"held out {name!r}": group for name, group in self.held_out.items()}}
        return "\n".join([head, *(_listed(name, group) for name, group in groups.items()), *self.notes()])


def teams_of(config: Config) -> Teams:
    """Return the compositions of a checked config.

    Raises:
        UserError: if training includes compositions that the split of the environment holds out, if an evaluation that
            differs from training only in its teams shares compositions with training, or if an environment rejects its
            arguments, does not fit the policy or has another kind of score than training.
    """
    make_env, evaluated = environment_factory(config["env"]), config["held_out"]
    with one_environment(make_env) as env:
        if overlap := [c.label for c in env.compositions if c in env.withheld]:
            raise UserError(
                f"env.mixes trains on compositions that env.split holds out: {', '.join(overlap)}; choose "
                "env.mixes=training or remove them from one of the two"
            )
        worlds = evaluated_worlds(evaluated["team_sizes"], evaluated["worlds"])[1:]
        held_out = {world.name: _held_out(world, make_env, env, evaluated["seed"]) for world in worlds}
        played = {*env.compositions, *(c for compositions in held_out.values() for c in compositions)}
        return Teams(env.compositions, held_out, tuple(c for c in env.withheld if c not in played))


def _held_out(world: World, make_env: MakeEnv, env: EntityEnv, seed: int) -> tuple[Composition, ...]:
    """Return the compositions of one evaluation and check that they are held out from training."""
    try:
        with closing(world.environment(make_env, 1, seed, env.entity_spec)) as evaluation_env:
            compositions, measure = evaluation_env.compositions, measure_of(evaluation_env.winnable)
    except WorldError as error:
        sizes = "; held_out.team_sizes=[...] sets the sizes to evaluate, held_out.team_sizes=[] none"
        raise UserError(f"held_out: {error}{sizes if set(world.changes) == {'team_sizes'} else ''}") from error
    if measure != measure_of(env.winnable):
        raise UserError(
            f"held_out: evaluation {world.name!r} is scored by its {measure} and the training teams by their "
            f"{measure_of(env.winnable)}: scores of one run must be comparable"
        )
    shared = [c.label for c in compositions if c in set(env.compositions)]
    if shared and set(world.changes) <= {*env.team_arguments, *env.neutral_arguments}:
        raise UserError(
            f"held_out: evaluation {world.name!r} plays compositions of training: {', '.join(shared)}; remove them "
            f"from one of the two (training has teams of {size_range(sorted({c.size for c in env.compositions}))})"
        )
    return compositions


def _listed(name: str, compositions: Iterable[Composition]) -> str:
    listed = list(compositions)
    lines = [f"\n{name}: {len(listed)}"]
    for size, group in groupby(sorted(listed, key=lambda c: c.size), key=lambda c: c.size):
        labels = [c.label for c in group]
        lines += [f"  {size} agents, {len(labels)}:", *(f"    {label}" for label in labels)]
    return "\n".join(lines)
