"""Training from end to end: the only place that joins the parts."""

from __future__ import annotations

import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf

from mipi_pl import record
from mipi_pl.assembly import RECORD, build, environment_factory, policies_of, read_checkpoint
from mipi_pl.baselines import play_baselines
from mipi_pl.checkpoints import CheckpointFolder, lock
from mipi_pl.config import Config, UserError, check_train, resolve
from mipi_pl.envs.base import EntityEnv
from mipi_pl.evaluation.figures import draw_run, read_curve
from mipi_pl.evaluation.generalization import TRAINING, Result, WorldError, evaluate, worlds_of
from mipi_pl.evaluation.tables import append_csv, comparison_table, rows_of, write_csv
from mipi_pl.files import DamagedError
from mipi_pl.run_state import EVALUATIONS, RunState
from models import fused

_FOLDER_VARIABLE = "MIPI_RUN_FOLDER"
_UNDERSTOOD = (
    # message of a library's warning, why it is of no concern
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", "Lightning's own code, with this version of PyTorch"),
    ("Experiment logs directory .* exists and is not empty", "it is the run's own folder"),
    ("You're resuming from a checkpoint that ended before the epoch ended", "the datamodule holds the loader's state"),
)


class Interrupted(KeyboardInterrupt):
    """Training was stopped by the user; what had been learned is in the checkpoint."""


@dataclass
class Parts:
    """What a run is made of."""

    datamodule: Any  # a LightningDataModule with env, frames and episodes
    algorithm: LightningModule
    trainer: Trainer
    state: RunState

    @property
    def env(self) -> EntityEnv:
        """The training environments."""
        env: EntityEnv = self.datamodule.env
        return env

    @property
    def frames(self) -> int:
        """Environment steps collected, over all processes."""
        return int(self.datamodule.frames) * self.trainer.world_size

    @property
    def updates(self) -> int:
        """Learning updates done."""
        return int(self.algorithm.updates)  # type: ignore[arg-type]


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
    root = Path(config["output_dir"])
    folder = _make_folder(root, config["run"]["name"])
    composed.run.folder = str(folder)
    try:
        return _run(resolve(composed), folder, None, say)
    except BaseException:
        record.discard_if_empty(folder, root)
        raise


def resume(run: Path, say: Callable[[str], None] = print) -> Path:
    """Go on with a run that was interrupted, from its newest whole checkpoint, to the end it would have had.

    Args:
        run: its folder.
        say: what the user is told goes here.

    Returns:
        The run folder.

    Raises:
        UserError: if there is nothing to go on with, or another process is at it.
        Interrupted: if training was stopped again.
    """
    folder = run.resolve()
    if not folder.is_dir():
        raise UserError(f"there is no run folder {run}; mipi train makes one below outputs/")
    if (folder / "results.json").exists():
        raise UserError(f"{run} is finished: its results.json is written, there is nothing to resume")
    try:
        checkpoint = CheckpointFolder(folder).newest_whole(say)
    except DamagedError as error:
        raise UserError(str(error)) from error
    if checkpoint is None:
        raise UserError(f"{run} has no checkpoint yet: nothing can be resumed, start it anew with mipi train")
    content, config = read_checkpoint(checkpoint)
    written_at, now = content[RECORD]["commit"], record.commit()
    if written_at != now:
        say(f"note: {checkpoint.name} was written at commit {written_at}, this is {now}: the run may go on differently")
    return _run(_moved(config, config["run"]["folder"], str(folder)), folder, checkpoint, say)


def _moved(node: Any, old: str, new: str) -> Any:
    """A config whose paths into the run folder lead to where it is now."""
    if isinstance(node, dict):
        return {key: _moved(value, old, new) for key, value in node.items()}
    if isinstance(node, list):
        return [_moved(value, old, new) for value in node]
    inside = isinstance(node, str) and (node == old or node.startswith(f"{old}/"))
    return new + node[len(old) :] if inside else node


def _run(config: Config, folder: Path, checkpoint: Path | None, say: Callable[[str], None]) -> Path:
    start_s = time.monotonic()
    with _held(folder):
        set_threads(config["threads"])
        fused.enable(config["fused"])
        seed_everything(config["seed"], workers=True, verbose=False)
        quieten()
        parts = assemble(config, folder)
        before = _evaluate(config, parts)
        scripted = _baselines(config)  # before training, so that a name that does not exist is found now
        if not parts.trainer.is_global_zero:  # the first process reports for all
            parts.trainer.fit(parts.algorithm, datamodule=parts.datamodule, ckpt_path=checkpoint)
            return folder
        OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
        record.link_latest(folder.parent.parent, folder)
        where = f"folder {record.shown(folder)}" + (f", resumed from {checkpoint.name}" if checkpoint else "")
        say(f"{title(config)}: {config['total_frames']:,} frames, {where}\n")
        say(f"{comparison_table({'untrained': before, **scripted})}\n")
        if checkpoint is None:
            _note(folder, 0, 0, before)

        fit_start_s = time.monotonic()
        _fit(parts, folder, checkpoint, say)
        fit_s = time.monotonic() - fit_start_s

        after = _evaluate(config, parts)
        _note(folder, parts.frames, parts.updates, after)
        policies = {"trained": after, "untrained": before, **scripted}
        earlier_s = parts.state.seconds
        seconds = {"seconds": earlier_s + time.monotonic() - start_s, "seconds_training": earlier_s + fit_s}
        _report(config, folder, parts, policies, seconds, say)
    return folder


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other processes off the folder; those of one multi-device run share it."""
    if "LOCAL_RANK" in os.environ:
        yield
        return
    try:
        file = lock(folder)
    except BlockingIOError as error:
        raise UserError(f"{folder} is in use: another process trains there") from error
    with file:
        try:
            yield
        finally:
            (folder / ".lock").unlink(missing_ok=True)


def assemble(config: Config, folder: Path) -> Parts:
    """Build every part; nothing is written.

    Raises:
        UserError: if a part refuses its values.
    """
    datamodule = build("datamodule", config["datamodule"])
    algorithm = build("algorithm", config["algorithm"], spec=datamodule.env.entity_spec)
    try:
        algorithm.configure_optimizers()  # once for nothing: a bad learning rate is found now and not during fit
    except (TypeError, ValueError) as error:
        raise UserError(f"algorithm: {error}") from error
    callbacks = [build(f"callbacks.{name}", node) for name, node in config["callbacks"].items()]
    loggers = [build(f"logger.{name}", node) for name, node in config["logger"].items()]
    state = RunState(config, folder)
    callbacks.append(state)
    trainer = build("trainer", config["trainer"], callbacks=callbacks, logger=loggers, default_root_dir=str(folder))
    return Parts(datamodule, algorithm, trainer, state)


def set_threads(threads: int | None) -> None:
    """Processor threads of PyTorch and of the compiled battle."""
    if threads is not None:
        import numba

        torch.set_num_threads(threads)
        available = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]  # fewer than cores in a container
        numba.set_num_threads(min(threads, available))


def quieten() -> None:
    """Silence what the libraries say that is known to be of no use here; anything else still comes through."""
    # "GPU available: ..", "Tip: ..", "`Trainer.fit` stopped: ..": what runs is said in our own words.
    # TorchRL reports the shape of its storage.
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero", "torchrl"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message, why in _UNDERSTOOD:
        del why
        warnings.filterwarnings("ignore", message=message)


def title(config: Config) -> str:
    """One line on what is trained."""
    return f"{config['run']['algorithm']} on {config['run']['environment']}, seed {config['seed']}"


def _make_folder(root: Path, name: str) -> Path:
    # The processes of a multi-device run are started by the first one, inherit its environment and share its folder.
    inherited = os.environ.get(_FOLDER_VARIABLE) if "LOCAL_RANK" in os.environ else None
    try:
        folder = Path(inherited) if inherited else record.new_folder(root / name.replace("/", "-"))
    except OSError as error:
        raise UserError(f"output_dir: cannot write to {root} ({error.strerror})") from error
    os.environ[_FOLDER_VARIABLE] = str(folder)
    return folder


def _fit(parts: Parts, folder: Path, checkpoint: Path | None, say: Callable[[str], None]) -> None:
    with _stopping_between_updates(parts.trainer, say):
        try:
            parts.trainer.fit(parts.algorithm, datamodule=parts.datamodule, ckpt_path=checkpoint, weights_only=True)
        except (SystemExit, SIGTERMException) as error:
            # Lightning answers Ctrl-C with its callbacks' on_exception, which saves, and then with exit code 1; a
            # request to terminate with an exception of its own.
            if not parts.trainer.interrupted:
                raise
            raise Interrupted(
                f"stopped after {parts.frames:,} frames; go on with: mipi resume {record.shown(folder)}"
            ) from error
        except ValueError as error:
            if checkpoint is None or parts.updates:
                raise
            raise UserError(f"{checkpoint}: {error}") from error


@contextmanager
def _stopping_between_updates(trainer: Trainer, say: Callable[[str], None]) -> Iterator[None]:
    """Let Ctrl-C and a request to terminate wait for the end of the update, so that the checkpoint is exact.

    A second Ctrl-C stops at once.
    """
    found: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    checkpointing = [callback for callback in found if hasattr(callback, "stop_requested")]
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _: Any) -> None:
        if checkpointing[0].stop_requested and number == signal.SIGINT:
            checkpointing[0].stop_requested = False  # in the middle of an update: no checkpoint, the last one stays
            raise KeyboardInterrupt
        checkpointing[0].stop_requested = True
        say("\nstopping after this update; press Ctrl-C again to stop at once")

    if checkpointing:
        for number in before:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    append_csv(folder / EVALUATIONS, [{**head, **row} for row in rows_of("greedy", results)])


def _report(
    config: Config,
    folder: Path,
    parts: Parts,
    policies: dict[str, list[Result]],
    seconds: dict[str, float],
    say: Callable[[str], None],
) -> None:
    trained, untrained, *scripted = policies
    content = {
        **as_json(policies[trained]),
        "before": as_json(policies[untrained]),
        "scripted": {name: as_json(policies[name]) for name in scripted},
        "frames": parts.frames,
        "updates": parts.updates,
        **seconds,
        "seed": config["seed"],
        "resumed_at": parts.state.resumed_at,
        **parts.state.provenance,
    }
    record.write_json(folder / "results.json", content)
    write_csv(folder / "results.csv", [row for name, results in policies.items() for row in rows_of(name, results)])
    draw_run(folder / "results.png", title(config), read_curve(folder / EVALUATIONS), policies)
    say(f"\n{comparison_table(policies)}\n")
    say("greedy policy of the last update; other columns: win rates of other policies in the same worlds")
    minutes = seconds["seconds"] / 60
    say(f"{parts.frames:,} frames, {parts.updates:,} updates, {minutes:.1f} minutes")
    for label, name in (
        ("picture", "results.png"),
        ("numbers", "results.json"),
        ("checkpoint", "checkpoints/last.ckpt"),
    ):
        say(f"{label:<10} {record.shown(folder / name)}")


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Results as in results.json: the training teams, and every other evaluation under its name."""
    found: dict[str, Any] = {"held_out": {}}
    for result in results:
        if result.name == TRAINING:
            found = {"training": result.as_dict(), **found}
        else:
            found["held_out"][result.name] = result.as_dict()
    return found
