"""Training from end to end: the only place that joins the parts."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from lightning import seed_everything
from omegaconf import DictConfig, OmegaConf

from mipi_pl import distributed
from mipi_pl.evaluation.baselines import play_baselines
from mipi_pl.evaluation.generalization import TRAINING, Result, WorldError, evaluate, worlds_of
from mipi_pl.evaluation.tables import append_csv, comparison_table, fault_notes, rows_of, write_csv
from mipi_pl.logging.hooks import closing, tell
from mipi_pl.run.build import Parts, assemble, build, environment_factory, policies_of
from mipi_pl.run.config import Config, check_train, resolve
from mipi_pl.run.fit import fit, held
from mipi_pl.run.processes import connect
from mipi_pl.run.teams import Teams, teams_of
from mipi_pl.storage import provenance, run_folder
from mipi_pl.storage.checkpoints import CheckpointFolder
from mipi_pl.storage.files import replacing, write_json
from mipi_pl.utils.errors import FailedError, UserError
from mipi_pl.utils.threads import set_threads
from models import fused

_UNDERSTOOD = (
    # message of a library's warning, why it is of no concern
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", "Lightning's own code, with this version of PyTorch"),
    ("Experiment logs directory .* exists and is not empty", "it is the run's own folder"),
    ("You're resuming from a checkpoint that ended before the epoch ended", "the datamodule holds the loader's state"),
)


def train(composed: DictConfig, say: Callable[[str], None] = print) -> Path:
    """Train as the config says and report.

    Args:
        composed: train.yaml with its choices; checked before anything is created.
        say: what the user is told goes here.

    Returns:
        The run folder.

    Raises:
        UserError: for a mistake in the config.
        Interrupted: if training was stopped by Ctrl-C; the checkpoint is written.
    """
    config = resolve(composed)
    check_train(config)
    quieten()
    teams_of(config)
    connect(config["trainer"])
    root = Path(config["output_dir"])
    folder = distributed.by_first(lambda: _make_folder(root, config["run"]["name"]))
    composed.run.folder = str(folder)
    try:
        return run_to_the_end(resolve(composed), folder, None, say)
    except BaseException:
        if distributed.rank() == 0:
            run_folder.discard_if_empty(folder, root)
        raise


def run_to_the_end(config: Config, folder: Path, checkpoint: Path | None, say: Callable[[str], None]) -> Path:
    """Evaluate, train from the beginning or from a checkpoint, evaluate, report; as `train`, from a checked config.

    All processes of the run take part, connected by `connect`; the first one writes and reports.
    """
    start_s = time.monotonic()
    first = distributed.rank() == 0
    say = say if first else _in_silence
    if not all(distributed.gather(folder.is_dir())):
        raise UserError(f"{folder} must be on a file system that all machines of the run share")
    with held(folder), run_folder.failure_noted(folder) if first else nullcontext(), ExitStack() as at_the_end:
        set_threads(config["threads"])
        fused.enable(config["fused"])
        seed_everything(config["seed"], workers=True, verbose=False)
        teams = teams_of(config)
        parts = assemble(config, folder)
        at_the_end.enter_context(closing(parts.trainer.loggers))
        if checkpoint is not None:
            _go_back_to(folder, checkpoint)
            if not parts.resumes_exactly:
                say(
                    "note: the environments live in other processes, so the episodes under way are lost; new ones begin"
                )
        before = _evaluate(config, parts)
        scripted = _baselines(config)  # before training, so that a name that does not exist is found now
        if first:
            _begin(config, folder, checkpoint, before)
        where = f"folder {run_folder.shown(folder)}" + (f", resumed from {checkpoint.name}" if checkpoint else "")
        say(f"{title(config)}: {config['total_frames']:,} frames, {where}\n")
        for note in teams.notes():
            say(f"{note}\n")
        say(f"{comparison_table({'untrained': before, **scripted})}\n")
        fit_start_s = time.monotonic()
        fit(parts, folder, checkpoint, say)
        fit_s = time.monotonic() - fit_start_s

        after, cut_short = _evaluate(config, parts), parts.cut_short()
        if not first:
            return folder
        policies = {"trained": after, "untrained": before, **scripted}
        earlier_s = parts.state.seconds
        counted = {
            "cut_short": cut_short,
            "seconds": earlier_s + time.monotonic() - start_s,
            "seconds_training": earlier_s + fit_s,
            "processor_seconds": parts.state.processor_seconds(),
        }
        try:
            _note(folder, parts.frames, parts.updates, after)
            _report(config, folder, parts, teams, policies, counted, say)
        except OSError as error:
            raise FailedError(
                f"training is finished, but its results cannot be written ({error}); when they can, go on from the "
                f"last checkpoint with: mipi resume {run_folder.shown(folder)}"
            ) from error
    return folder


def quieten() -> None:
    """Silence what the libraries say that is known to be of no use here; anything else still comes through."""
    # "GPU available: ..", "Tip: ..", "`Trainer.fit` stopped: ..": what runs is said in our own words.
    # TorchRL reports the shape of its storage.
    lightning = ("pytorch.utilities.rank_zero", "fabric.utilities.rank_zero", "fabric.utilities.distributed")
    for name in (*(f"lightning.{one}" for one in lightning), "torchrl"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message, why in _UNDERSTOOD:
        del why
        warnings.filterwarnings("ignore", message=message)


def title(config: Config) -> str:
    """One line on what is trained."""
    return f"{config['run']['algorithm']} on {config['run']['environment']}, seed {config['seed']}"


def _make_folder(root: Path, name: str) -> Path:
    try:
        return run_folder.new_folder(root / name.replace("/", "-"))
    except OSError as error:
        raise UserError(f"output_dir: cannot write to {root} ({error.strerror})") from error


def _begin(config: Config, folder: Path, checkpoint: Path | None, before: Sequence[Result]) -> None:
    """What the run folder holds from the first."""
    try:
        with replacing(folder / run_folder.CONFIG) as unfinished:
            OmegaConf.save(OmegaConf.create(config), unfinished)
        if checkpoint is None:
            write_json(folder / run_folder.PROVENANCE, provenance.provenance())
            run_folder.link_latest(folder.parent.parent, folder)
            _note(folder, 0, 0, before)
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror})") from error


def _go_back_to(folder: Path, checkpoint: Path) -> None:
    """Newer checkpoints are made anew."""
    distributed.by_first(lambda: CheckpointFolder(folder).forget_after(checkpoint.name))


def _in_silence(_: str) -> None:
    """The first process speaks for all."""


def _evaluate(config: Config, parts: Parts) -> list[Result]:
    held_out = config["held_out"]
    make_env, worlds = environment_factory(config["env"]), worlds_of(held_out["team_sizes"], held_out["worlds"])
    parts.algorithm.eval()
    try:
        found = evaluate(make_env, policies_of(parts.algorithm), worlds, held_out["episodes"], held_out["seed"])
    except WorldError as error:
        raise UserError(f"held_out: {error}") from error
    parts.algorithm.train()
    return found


def _baselines(config: Config) -> dict[str, list[Result]]:
    held_out = config["held_out"]
    make_env, worlds = environment_factory(config["env"]), worlds_of(held_out["team_sizes"], held_out["worlds"])
    try:
        return play_baselines(held_out["baselines"], make_env, worlds, held_out["episodes"], held_out["seed"])
    except ValueError as error:
        raise UserError(f"held_out.baselines: {error}") from error


def _note(folder: Path, frames: int, updates: int, results: Sequence[Result]) -> None:
    head = {"frames": frames, "updates": updates}
    append_csv(folder / run_folder.EVALUATIONS, [{**head, **row} for row in rows_of("greedy", results)])


def _report(
    config: Config,
    folder: Path,
    parts: Parts,
    teams: Teams,
    policies: dict[str, list[Result]],
    counted: dict[str, float],
    say: Callable[[str], None],
) -> None:
    trained, untrained, *scripted = policies
    content = {
        **as_json(policies[trained]),
        "before": as_json(policies[untrained]),
        "scripted": {name: as_json(policies[name]) for name in scripted},
        "frames": parts.frames,
        "updates": parts.updates,
        **counted,
        "compositions": teams.as_json(),
        "seed": config["seed"],
        "resumed_at": parts.state.resumed_at,
        "resumed_exactly": parts.resumes_exactly or not parts.state.resumed_at,
        **parts.state.provenance,
    }
    write_csv(folder / "results.csv", [row for name, results in policies.items() for row in rows_of(name, results)])
    draw = build("picture", {**config["picture"], "_partial_": True})
    draw(folder / "results.png", title(config), folder / run_folder.EVALUATIONS, policies)
    tell(parts.trainer.loggers, "log_finished", scores_of(policies[trained]))
    write_json(folder / run_folder.RESULTS, content)  # last: a run with this file is finished
    say(f"\n{comparison_table(policies)}\n")
    measure = policies[trained][0].total.measure
    say(f"greedy policy of the last update; other columns: {measure}s of other policies in the same worlds")
    for note in fault_notes(policies):
        say(note)
    minutes, busy = (counted[key] / 60 for key in ("seconds", "processor_seconds"))
    say(f"{parts.frames:,} frames, {parts.updates:,} updates, {minutes:.1f} minutes, {busy:.1f} processor minutes")
    if cut_short := counted["cut_short"]:
        say(f"episodes cut short by faults of the world: {cut_short:,}")
    for label, name in (
        ("picture", "results.png"),
        ("numbers", "results.json"),
        ("checkpoint", "checkpoints/last.ckpt"),
    ):
        say(f"{label:<10} {run_folder.shown(folder / name)}")


def scores_of(results: Sequence[Result]) -> dict[str, float]:
    """Flat, for a logger: such as ``win_rate_6`` and ``return_training``."""
    return {f"{key}_{result.name}": float(value) for result in results for key, value in result.total.as_dict().items()}


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Results as in results.json: the training teams, and every other evaluation under its name."""
    found: dict[str, Any] = {"held_out": {}}
    for result in results:
        if result.name == TRAINING:
            found = {"training": result.as_dict(), **found}
        else:
            found["held_out"][result.name] = result.as_dict()
    return found
