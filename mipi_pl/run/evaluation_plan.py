"""The plan of an evaluation: the config of a run with the changes of the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from mipi_pl.evaluation.worlds import World
from mipi_pl.run.build import evaluated_worlds
from mipi_pl.run.changes import merged, read_overrides
from mipi_pl.run.config import check_evaluation, check_seed
from mipi_pl.run.schema import Config, HeldOut, Node
from mipi_pl.run.signatures import check_node, check_targets, without_keys_of_the_program
from mipi_pl.utils.errors import UserError


@dataclass
class Plan:
    """What to evaluate: the config of the run with the user's changes.

    Attributes:
        env: environment config.
        held_out: settings of the evaluations.
        worlds: the evaluations.
        output_dir: parent of the result folder; None uses the run folder.
        threads: processor threads; None uses PyTorch's default: all cores, or OMP_NUM_THREADS.
        config_dir: the user's own folder of modules, as named for this command; None if none was named.
        changes: arguments of the environment that differ from those of training, without the teams.
    """

    env: Node
    held_out: HeldOut
    worlds: tuple[World, ...]
    output_dir: str | None
    threads: int | None
    config_dir: Path | None = None
    changes: Node = field(default_factory=dict)


def make_plan(config: Config, overrides: Sequence[str]) -> Plan:
    """Apply command-line overrides to the config of a run and check the result.

    Raises:
        UserError: if eval.yaml or the environment does not have a key, or a value is invalid.
    """
    trained = without_keys_of_the_program(config["env"])
    worlds_there = {name: without_keys_of_the_program(world) for name, world in config["held_out"]["worlds"].items()}
    wanted = read_overrides(overrides, worlds_there)
    named = {key: value for key, value in wanted["held_out"].items() if value is not None}
    held_out = cast(HeldOut, {**config["held_out"], "worlds": worlds_there, **named})
    if wanted["seed"] is not None:
        check_seed(wanted["seed"], "seed")
        held_out["seed"] = wanted["seed"]
    changes: dict[str, Any] = dict(wanted["env"])
    team_sizes = changes.pop("team_sizes", None)
    env = merged(trained, changes)
    check_targets({"env": env, "held_out": held_out}, "")
    named_by = "held_out.team_sizes"
    if team_sizes is None:
        worlds = evaluated_worlds(held_out["team_sizes"], held_out["worlds"])
    else:
        check_node({"_target_": env["_target_"], "team_sizes": team_sizes}, "env")
        if not isinstance(team_sizes, list) or not team_sizes:
            raise UserError(f"env.team_sizes must be a list of at least one size, such as [6,7,8], got {team_sizes!r}")
        if wanted["held_out"]["team_sizes"] is not None:
            raise UserError("env.team_sizes and held_out.team_sizes both name the teams to play: leave out one of them")
        held_out["team_sizes"], held_out["worlds"] = team_sizes, wanted["held_out"]["worlds"] or {}
        worlds = evaluated_worlds(team_sizes, held_out["worlds"])[1:]
        named_by = "env.team_sizes"
    check_evaluation(held_out, held_out["seed"], named_by)
    return Plan(env, held_out, worlds, wanted["output_dir"], wanted["threads"], changes=changed_arguments(env, trained))


def changed_arguments(env: Node, trained: Node) -> Node:
    """Return the arguments of an environment that differ from those of training."""
    return {key: value for key, value in env.items() if value != trained.get(key)}
