"""A policy of a checkpoint that is ready to play the worlds of a plan: `mipi eval`, `mipi watch`, `mipi export`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.envs.base import MakeEnv
from mipi_pl.evaluation.worlds import WorldError, measure_of
from mipi_pl.models import fused
from mipi_pl.run import own_folder
from mipi_pl.run.build import environment_factory, one_environment
from mipi_pl.run.evaluation_plan import Plan, changed_arguments, make_plan
from mipi_pl.run.learner import build_algorithm
from mipi_pl.run.quiet import quieten
from mipi_pl.run.schema import Config, Node
from mipi_pl.spec import EntitySpec
from mipi_pl.storage import run_folder
from mipi_pl.storage.checkpoint_file import RECORD, restore
from mipi_pl.utils.errors import UserError
from mipi_pl.utils.threads import set_threads


@dataclass
class LoadedRun:
    """A loaded checkpoint with everything needed to play it.

    Attributes:
        name: name of the run and number of frames it was trained for, for messages.
        record: config and provenance of the run, from the checkpoint.
        plan: what to evaluate.
        algorithm: algorithm with the weights of the checkpoint, in evaluation mode.
        make_env: environment factory of the run, with the user's changes.
        spec: sizes of that environment.
    """

    name: str
    record: dict[str, Any]
    plan: Plan
    algorithm: EntityAlgorithm
    make_env: MakeEnv
    spec: EntitySpec


def open_checkpoint(path: Path, overrides: Sequence[str]) -> LoadedRun:
    """Load a checkpoint and apply overrides. The worlds of the plan are not checked; see `check_worlds`.

    Side effects on the process: sets the number of threads, the use of compiled kernels, the import path and the
    filters for library messages.

    Args:
        path: checkpoint written by `mipi train`, or a file of its weights.
        overrides: command-line overrides; their keys are those of eval.yaml, and ``config_dir`` names the user's own
            folder of modules.

    Raises:
        UserError: if the checkpoint cannot be used or an override is invalid.
    """
    config_dir, overrides = own_folder.split(overrides)
    content, config = own_folder.open_run(path, config_dir)
    plan = replace(make_plan(config, overrides), config_dir=config_dir)
    set_threads(plan.threads)
    fused.enable(config.get("fused", True))
    quieten()
    loaded = _load(path, content, config, plan)
    if misfit := _misfit(loaded.algorithm, loaded.spec):
        keys = _unfit_keys(loaded.algorithm, plan.env, config["env"])
        raise UserError(f"{misfit}{f'; {keys} cannot be changed after training' if keys else ''}")
    return loaded


def open_opponent(path: Path, plan: Plan) -> LoadedRun:
    """Load a second checkpoint to play the plan of the first.

    Raises:
        UserError: if the checkpoint cannot be used, or its policy cannot act in the worlds of the plan.
    """
    content, config = own_folder.open_run(path, plan.config_dir)
    if config["env"]["_target_"] != plan.env["_target_"]:
        raise UserError(
            f"{path} was trained in {config['env']['_target_']}, the other checkpoint in {plan.env['_target_']}"
        )
    loaded = _load(path, content, config, plan)
    if misfit := _misfit(loaded.algorithm, loaded.spec):
        keys = _unfit_keys(loaded.algorithm, plan.env, config["env"])
        raise UserError(
            f"{run_folder.shown(path)}: {misfit}{f' (they differ in {keys})' if keys else ''}; name a policy that was "
            "trained in the same world, or a scripted one"
        )
    check_worlds(loaded)
    return loaded


def check_worlds(loaded: LoadedRun) -> None:
    """Check that the policy can act in every world of its plan.

    Raises:
        UserError: if it cannot, a world cannot be created, or the worlds have different kinds of scores.
    """
    plan, measures = loaded.plan, dict[str, str]()
    try:
        for world in plan.worlds:
            env = world.environment(loaded.make_env, 1, plan.held_out["seed"], loaded.algorithm.spec)
            with closing(env):
                measures.setdefault(measure_of(env.winnable), world.name)
    except WorldError as error:
        raise UserError(str(error)) from error
    if len(measures) > 1:
        both = " and ".join(f"{name!r} by its {measure}" for measure, name in measures.items())
        raise UserError(f"scores of one evaluation must be comparable: {both}; evaluate them apart")


def _load(path: Path, content: dict[str, Any], config: Config, plan: Plan) -> LoadedRun:
    with one_environment(environment_factory(config["env"])) as env:
        trained = env.entity_spec
    algorithm = build_algorithm(config["algorithm"], trained)
    restore(algorithm, content, path)
    algorithm.eval()
    make_env = environment_factory(plan.env)
    with one_environment(make_env) as env:
        played = env.entity_spec
    name = f"{config['run']['name']} after {content[RECORD]['frames']:,} frames"
    return LoadedRun(name, content[RECORD], plan, algorithm, make_env, played)


def _unfit_keys(algorithm: EntityAlgorithm, env: Node, trained: Node) -> str:
    """Return the changed keys of an environment that do not fit the policy, for messages; all if none does so alone."""
    changed = changed_arguments(env, trained)
    unfit = [key for key in changed if not _fits(algorithm, {**trained, key: env[key]})]
    return ", ".join(f"env.{key}" for key in unfit or changed)


def _fits(algorithm: EntityAlgorithm, env: Node) -> bool:
    """Return whether the policy can act in an environment, also if that cannot be told because it cannot be built."""
    with suppress(UserError), one_environment(environment_factory(env)) as built:
        return _misfit(algorithm, built.entity_spec) is None
    return True


def _misfit(algorithm: EntityAlgorithm, spec: EntitySpec) -> str | None:
    """Return why the policy cannot act in an environment of these sizes; None if it can."""
    try:
        algorithm.spec.refuse_misfit(spec)
    except ValueError as error:
        return str(error)
    return None
