"""`mipi eval`: evaluation of a checkpoint on its training teams, held-out teams, or any teams up to its capacity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mipi_pl.evaluation.figures import draw_evaluation
from mipi_pl.evaluation.generalization import Result
from mipi_pl.evaluation.tables import comparison_table, detail_table, fault_notes, rows_of, write_csv
from mipi_pl.evaluation.worlds import Worlds, workload_note
from mipi_pl.run.evaluation_plan import Plan
from mipi_pl.run.loaded_run import LoadedRun, check_worlds, open_checkpoint
from mipi_pl.run.playing import play_learned, play_scripted
from mipi_pl.run.report import as_json
from mipi_pl.run.result_folder import not_writable, result_folder
from mipi_pl.run.schema import Node
from mipi_pl.storage import provenance, run_folder, shipped
from mipi_pl.storage.files import sha256_of, write_json
from mipi_pl.utils.errors import UserError

_ATTEMPTS = 5
"""How often a checkpoint that changes while it is loaded is loaded before the evaluation gives up."""


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
    loaded, sha256 = _open_unchanged(path, overrides)
    check_worlds(loaded)
    plan = loaded.plan
    checkpoint = {"path": str(path.resolve()), "sha256": sha256}
    checkpoint |= {key: loaded.record[key] for key in ("frames", "updates", "commit")}
    if note := workload_note(len(plan.worlds), plan.held_out["episodes"], loaded.spec.max_steps):
        say(note)
    title = " ".join([loaded.name, *(f"[{text}]" for text in _texts_of(plan.changes))])
    with result_folder(path, "eval", plan.output_dir) as folder:
        policies = _played(loaded)
        _tell(title, policies, say)
        try:
            _write(folder, title, {"absolute": absolute, "checkpoint": checkpoint}, policies, plan)
        except OSError as error:
            raise not_writable(folder, error) from error
    say("")
    for label, name in (("picture", "results.png"), ("numbers", "results.json"), ("table", "results.csv")):
        say(f"{label:<10} {run_folder.shown(folder / name)}")
    return folder


def _open_unchanged(path: Path, overrides: Sequence[str]) -> tuple[LoadedRun, str]:
    """Load a checkpoint, and return its checksum too.

    A run that is being trained replaces its checkpoints. If that happens meanwhile, the new file is loaded.

    Raises:
        UserError: if the checkpoint cannot be used, or is replaced or removed each time that it is loaded.
    """
    for _ in range(_ATTEMPTS):
        before = _checksum(path)
        loaded = open_checkpoint(path, overrides)  # says why a file cannot be read
        if before is not None and _checksum(path) == before:
            return loaded, before
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


def _texts_of(changes: Node) -> list[str]:
    """Return what was changed in the environment since training, for the title of the results."""
    return [
        f"env.{key} changed" if isinstance(value, (dict, list)) else f"env.{key}={value}"
        for key, value in changes.items()
    ]


def _played(loaded: LoadedRun) -> dict[str, list[Result]]:
    """Return the results of the policy, and of the scripted ones that the plan names."""
    plan = loaded.plan
    with Worlds(loaded.make_env, plan.worlds, plan.held_out["episodes"], plan.held_out["seed"]) as worlds:
        scripted = play_scripted(plan.held_out["baselines"], worlds)  # first, so that an unknown name is found early
        return {"trained": play_learned(loaded.algorithm, worlds), **scripted}


def _tell(title: str, policies: dict[str, list[Result]], say: Callable[[str], None]) -> None:
    say(f"{title}\n\n{detail_table(policies['trained'])}")
    if len(policies) > 1:
        say(f"\n{comparison_table(policies)}")
    for note in fault_notes(policies):
        say(note)


def _finite(node: Any) -> Any:
    """Return a config with texts in the place of infinite numbers and NaN, which JSON does not have."""
    if isinstance(node, dict):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_finite(value) for value in node]
    return str(node) if isinstance(node, float) and not math.isfinite(node) else node


def _write(folder: Path, title: str, about: dict[str, Any], policies: dict[str, list[Result]], plan: Plan) -> None:
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
