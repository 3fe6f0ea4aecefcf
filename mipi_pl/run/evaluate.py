"""`mipi eval`: evaluation of a checkpoint on its training teams, held-out teams, or any teams up to its capacity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.envs.base import MakeEnv
from mipi_pl.evaluation.figures import draw_evaluation
from mipi_pl.evaluation.generalization import Result
from mipi_pl.evaluation.tables import comparison_table, detail_table, fault_notes, rows_of, write_csv
from mipi_pl.evaluation.worlds import World, WorldError, Worlds, workload_note, worlds_of
from mipi_pl.models import fused
from mipi_pl.run import own_folder
from mipi_pl.run.build import environment_factory, one_environment
from mipi_pl.run.changes import merged, read_overrides
from mipi_pl.run.config import Config, check_evaluation
from mipi_pl.run.learner import build_algorithm
from mipi_pl.run.playing import play_learned, play_scripted
from mipi_pl.run.quiet import quieten
from mipi_pl.run.report import as_json
from mipi_pl.run.signatures import check_node, check_targets, without_keys_of_the_program
from mipi_pl.spec import EntitySpec
from mipi_pl.storage import provenance, run_folder, shipped
from mipi_pl.storage.checkpoint_file import RECORD, restore
from mipi_pl.storage.files import sha256_of, write_json
from mipi_pl.utils.errors import UserError
from mipi_pl.utils.threads import set_threads

_ATTEMPTS = 5
"""How often a checkpoint that changes while it is loaded is loaded before the evaluation gives up."""


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

    env: Config
    held_out: Config
    worlds: tuple[World, ...]
    output_dir: str | None
    threads: int | None
    config_dir: Path | None = None
    changes: Config = field(default_factory=dict)


@dataclass
class Subject:
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
    record: Config
    plan: Plan
    algorithm: EntityAlgorithm
    make_env: MakeEnv
    spec: EntitySpec


def open_checkpoint(path: Path, overrides: Sequence[str]) -> Subject:
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
    subject = _subject(path, content, config, plan)
    if misfit := _misfit(subject.algorithm, subject.spec):
        keys = _unfit_keys(subject.algorithm, plan.env, config["env"])
        raise UserError(f"{misfit}{f'; {keys} cannot be changed after training' if keys else ''}")
    return subject


def open_opponent(path: Path, plan: Plan) -> Subject:
    """Load a second checkpoint to play the plan of the first.

    Raises:
        UserError: if the checkpoint cannot be used, or its policy cannot act in the worlds of the plan.
    """
    content, config = own_folder.open_run(path, plan.config_dir)
    if config["env"]["_target_"] != plan.env["_target_"]:
        raise UserError(
            f"{path} was trained in {config['env']['_target_']}, the other checkpoint in {plan.env['_target_']}"
        )
    subject = _subject(path, content, config, plan)
    if misfit := _misfit(subject.algorithm, subject.spec):
        keys = _unfit_keys(subject.algorithm, plan.env, config["env"])
        raise UserError(
            f"{run_folder.shown(path)}: {misfit}{f' (they differ in {keys})' if keys else ''}; name a policy that was "
            "trained in the same world, or a scripted one"
        )
    check_worlds(subject)
    return subject


def check_worlds(subject: Subject) -> None:
    """Check that the policy can act in every world of its plan.

    Raises:
        UserError: if it cannot, or a world cannot be created.
    """
    plan = subject.plan
    try:
        for world in plan.worlds:
            world.environment(subject.make_env, 1, plan.held_out["seed"], subject.algorithm.spec).close()
    except WorldError as error:
        raise UserError(str(error)) from error


def _subject(path: Path, content: Config, config: Config, plan: Plan) -> Subject:
    with one_environment(environment_factory(config["env"])) as env:
        trained = env.entity_spec
    algorithm = build_algorithm(config["algorithm"], trained)
    restore(algorithm, content, path)
    algorithm.eval()
    make_env = environment_factory(plan.env)
    with one_environment(make_env) as env:
        played = env.entity_spec
    name = f"{config['run']['name']} after {content[RECORD]['frames']:,} frames"
    return Subject(name, content[RECORD], plan, algorithm, make_env, played)


def evaluate_checkpoint(
    path: Path, overrides: Sequence[str], say: Callable[[str], None] = print, absolute: bool = False
) -> Path:
    """Evaluate a checkpoint, print the results and write them to a new folder.

    Args:
        path: checkpoint written by `mipi train`, a file of its weights, or the name of a shipped policy.
        overrides: command-line overrides; their keys are those of eval.yaml.
        say: function that prints messages to the user.
        absolute: whether this is the absolute metric, which the results then say.

    Returns:
        The folder of the results.

    Raises:
        UserError: if the checkpoint cannot be used, an override is invalid, or the folder cannot be written to.
    """
    path = shipped.located(path)
    subject, sha256 = _open_unchanged(path, overrides)
    check_worlds(subject)
    plan = subject.plan
    checkpoint = {"path": str(path.resolve()), "sha256": sha256}
    checkpoint |= {key: subject.record[key] for key in ("frames", "updates", "commit")}
    if note := workload_note(len(plan.worlds), plan.held_out["episodes"], subject.spec.max_steps):
        say(note)
    title = " ".join([subject.name, *(f"[{text}]" for text in _texts_of(plan.changes))])
    with result_folder(path, "eval", plan.output_dir) as folder:
        policies = _played(subject)
        _tell(title, policies, say)
        try:
            _write(folder, title, {"absolute": absolute, "checkpoint": checkpoint}, policies, plan)
        except OSError as error:
            raise not_writable(folder, error) from error
    say("")
    for label, name in (("picture", "results.png"), ("numbers", "results.json"), ("table", "results.csv")):
        say(f"{label:<10} {run_folder.shown(folder / name)}")
    return folder


def _open_unchanged(path: Path, overrides: Sequence[str]) -> tuple[Subject, str]:
    """Load a checkpoint, and return its checksum too.

    A run that is being trained replaces its checkpoints. If that happens meanwhile, the new file is loaded.

    Raises:
        UserError: if the checkpoint cannot be used, or is replaced or removed each time that it is loaded.
    """
    for _ in range(_ATTEMPTS):
        before = _checksum(path)
        subject = open_checkpoint(path, overrides)  # says why a file cannot be read
        if before is not None and _checksum(path) == before:
            return subject, before
    raise UserError(
        f"expected {run_folder.shown(path)} to stay the same while it is loaded, but it changed {_ATTEMPTS} times; "
        "evaluate a copy of it"
    )


def _checksum(path: Path) -> str | None:
    """Return the checksum of a file; None if it cannot be read."""
    try:
        return sha256_of(path)
    except OSError:
        return None


def _texts_of(changes: Config) -> list[str]:
    """Return what was changed in the environment since training, for the title of the results."""
    return [
        f"env.{key} changed" if isinstance(value, (dict, list)) else f"env.{key}={value}"
        for key, value in changes.items()
    ]


def _played(subject: Subject) -> dict[str, list[Result]]:
    """Return the results of the policy, and of the scripted ones that the plan names."""
    plan = subject.plan
    with Worlds(subject.make_env, plan.worlds, plan.held_out["episodes"], plan.held_out["seed"]) as worlds:
        scripted = play_scripted(plan.held_out["baselines"], worlds)  # first, so that an unknown name is found early
        return {"trained": play_learned(subject.algorithm, worlds), **scripted}


def _tell(title: str, policies: dict[str, list[Result]], say: Callable[[str], None]) -> None:
    say(f"{title}\n\n{detail_table(policies['trained'])}")
    if len(policies) > 1:
        say(f"\n{comparison_table(policies)}")
    for note in fault_notes(policies):
        say(note)


def make_plan(config: Config, overrides: Sequence[str]) -> Plan:
    """Apply command-line overrides to the config of a run and check the result.

    Raises:
        UserError: if eval.yaml or the environment does not have a key, or a value is invalid.
    """
    trained = without_keys_of_the_program(config["env"])
    worlds_there = {name: without_keys_of_the_program(world) for name, world in config["held_out"]["worlds"].items()}
    stored = {**config["held_out"], "worlds": worlds_there}
    wanted = read_overrides(overrides, stored["worlds"])
    held_out = {**stored, **{k: v for k, v in wanted["held_out"].items() if v is not None}}
    if wanted["seed"] is not None:
        held_out["seed"] = wanted["seed"]
    changes: dict[str, Any] = dict(wanted["env"])
    team_sizes = changes.pop("team_sizes", None)
    env = merged(trained, changes)
    check_targets({"env": env, "held_out": held_out}, "")
    named_by = "held_out.team_sizes"
    if team_sizes is None:
        worlds = worlds_of(held_out["team_sizes"], held_out["worlds"])
    else:
        check_node({"_target_": env["_target_"], "team_sizes": team_sizes}, "env")
        if not isinstance(team_sizes, list) or not team_sizes:
            raise UserError(f"env.team_sizes must be a list of at least one size, such as [6,7,8], got {team_sizes!r}")
        if wanted["held_out"]["team_sizes"] is not None:
            raise UserError("env.team_sizes and held_out.team_sizes both name the teams to play: leave out one of them")
        held_out["team_sizes"], held_out["worlds"] = team_sizes, wanted["held_out"]["worlds"] or {}
        worlds = worlds_of(team_sizes, held_out["worlds"])[1:]
        named_by = "env.team_sizes"
    check_evaluation(held_out, held_out["seed"], named_by)
    return Plan(env, held_out, worlds, wanted["output_dir"], wanted["threads"], changes=_changed(env, trained))


def _changed(env: Config, trained: Config) -> Config:
    """Return the arguments of an environment that differ from those of training."""
    return {key: value for key, value in env.items() if value != trained.get(key)}


def _unfit_keys(algorithm: EntityAlgorithm, env: Config, trained: Config) -> str:
    """Return the changed keys of an environment that do not fit the policy, for messages; all if none does so alone."""
    changed = _changed(env, trained)
    unfit = [key for key in changed if not _fits(algorithm, {**trained, key: env[key]})]
    return ", ".join(f"env.{key}" for key in unfit or changed)


def _fits(algorithm: EntityAlgorithm, env: Config) -> bool:
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


@contextmanager
def result_folder(path: Path, kind: str, output_dir: str | None) -> Iterator[Path]:
    """Create a folder named by the present time, in `output_dir` or in the folder `kind` of the checkpoint's run.

    Enter it before anything is played, so that a folder that cannot be created is told at once. If the block ends with
    an exception, the folder is removed if it is empty, with the parents that were created for it.

    Raises:
        UserError: if the folder cannot be created.
    """
    parent = Path(output_dir) if output_dir else output_parent(path) / kind
    try:
        absent = [folder for folder in (parent, *parent.parents) if not folder.exists()]
        folder = run_folder.new_folder(parent)
    except OSError as error:
        raise not_writable(parent, error) from error
    try:
        yield folder
    except BaseException:
        run_folder.discard_if_empty(folder, absent[-1] if absent else folder)
        raise


def not_writable(folder: Path, error: OSError) -> UserError:
    """Return the error for a folder of results that cannot be written to."""
    return UserError(f"cannot write to {folder} ({error.strerror or error}); name another folder: output_dir=...")


def output_parent(path: Path) -> Path:
    """Return the folder for files derived from a checkpoint.

    This is the run folder of a checkpoint, the folder outputs/<name> of a shipped policy, and the file's own folder
    otherwise.
    """
    path = path.resolve()
    if shipped.is_shipped(path):
        return Path("outputs") / path.stem
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent


def _finite(node: Any) -> Any:
    """Return a config with texts in the place of infinite numbers and NaN, which JSON does not have."""
    if isinstance(node, dict):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_finite(value) for value in node]
    return str(node) if isinstance(node, float) and not math.isfinite(node) else node


def _write(folder: Path, title: str, about: Config, policies: dict[str, list[Result]], plan: Plan) -> None:
    trained, *scripted = policies
    content = {
        **as_json(policies[trained]),
        "scripted": {name: as_json(policies[name]) for name in scripted},
        "seed": plan.held_out["seed"],
        "env_changes": _finite(plan.changes),
        **about,
        **provenance.provenance(),
    }
    write_json(folder / "results.json", content)
    write_csv(folder / "results.csv", [row for name, results in policies.items() for row in rows_of(name, results)])
    draw_evaluation(folder / "results.png", title, policies)
