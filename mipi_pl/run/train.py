"""A training run, from its config to its report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import TracebackType
from typing import cast

from lightning import Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf

from mipi_pl import distributed
from mipi_pl.evaluation.generalization import Result
from mipi_pl.evaluation.tables import comparison_table
from mipi_pl.evaluation.worlds import Worlds
from mipi_pl.logging.hooks import closing
from mipi_pl.models import fused
from mipi_pl.run import report, warm_start, workload
from mipi_pl.run.build import environment_factory, evaluated_worlds
from mipi_pl.run.config import check_train, resolve
from mipi_pl.run.fit import fit, held
from mipi_pl.run.lost_processes import losses_named, watch
from mipi_pl.run.parts import Parts, assemble
from mipi_pl.run.playing import play_learned, play_scripted
from mipi_pl.run.processes import connect
from mipi_pl.run.quiet import quieten
from mipi_pl.run.schema import Config
from mipi_pl.run.teams import Teams, teams_of
from mipi_pl.storage import provenance, run_folder
from mipi_pl.storage.checkpoints import CheckpointFolder
from mipi_pl.storage.files import DamagedError, replacing, write_json
from mipi_pl.utils.errors import FailedError, UserError
from mipi_pl.utils.signals import shield_resource_tracker
from mipi_pl.utils.threads import set_threads


def train(composed: DictConfig, say: Callable[[str], None] = print) -> Path:
    """Check a composed config, train, and write the report.

    Args:
        composed: train.yaml with its choices; checked before anything is created.
        say: function that prints messages to the user.

    Returns:
        The run folder.

    Raises:
        UserError: if the config is invalid.
        Interrupted: if the user stopped training; a checkpoint is written.
    """
    config = check_train(resolve(composed))
    warm_start.settle(composed)
    quieten()
    teams = teams_of(config)
    trainer = connect(config["trainer"])
    watch(config["lost_after_s"])
    root = Path(os.path.expanduser(config["output_dir"]))  # a config file may have a ~
    folder, created = distributed.on_first_rank(lambda: _make_folder(root, config["run"]["name"]))
    try:
        composed.run.folder = str(folder)  # paths into the run folder follow it
        with Run(cast(Config, resolve(composed)), folder, trainer, teams, say=say) as run:
            run.carry_out()
    except BaseException:
        if distributed.rank() == 0:
            run_folder.discard_if_empty(folder, created)
        raise
    return folder


class Run:
    """A training run, as a context manager.

    Entering locks the run folder and builds every part once. Leaving closes everything that was opened, also after an
    error. All processes of the run must use it; only the first one writes files and prints messages.

    Args:
        config: checked config whose paths are in `folder`.
        folder: run folder.
        trainer: Trainer from `mipi_pl.run.processes.connect`.
        teams: compositions of training and of the evaluations; None reads them on entering.
        checkpoint: checkpoint to resume from; None starts a new run.
        say: function that prints messages to the user.
        once_locked: called in the first process when the folder is locked and nothing in it has been changed yet.

    Raises:
        UserError: on entering, if the folder is in use or a part rejects its values, or from `once_locked`.
    """

    teams: Teams
    parts: Parts
    worlds: Worlds

    def __init__(
        self,
        config: Config,
        folder: Path,
        trainer: Trainer,
        teams: Teams | None = None,
        checkpoint: Path | None = None,
        say: Callable[[str], None] = print,
        once_locked: Callable[[], None] = lambda: None,
    ) -> None:
        self._once_locked = once_locked
        self.config, self.folder, self.checkpoint = config, folder, checkpoint
        self._known_teams = teams
        self.is_first = distributed.rank() == 0
        self.say = say if self.is_first else _in_silence
        self._trainer = trainer
        self._open = ExitStack()
        self._start_s = time.monotonic()

    def __enter__(self) -> Run:
        with self._open:
            self._build()
            self._open = self._open.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.__exit__(kind, error, at)

    def _build(self) -> None:
        config, folder = self.config, self.folder
        distributed.on_all_ranks(self._require_folder)
        shield_resource_tracker()
        self._open.enter_context(held(folder))
        distributed.on_first_rank(self._once_locked)
        self._open.enter_context(run_folder.failure_noted(folder) if self.is_first else nullcontext())
        set_threads(config["threads"])
        fused.enable(config["fused"])
        seed_everything(config["seed"], workers=True, verbose=False)
        self.teams = self._known_teams or teams_of(config)
        self.parts = distributed.on_all_ranks(self._assembled)
        note = warm_start.apply(self.parts.algorithm, config, folder, resumed=self.checkpoint is not None)
        if note is not None and self.checkpoint is None:
            self.say(f"{note}\n")
        held_out = config["held_out"]
        worlds = evaluated_worlds(held_out["team_sizes"], held_out["worlds"])
        make_env = environment_factory(config["env"])
        self.worlds = self._open.enter_context(Worlds(make_env, worlds, held_out["episodes"], held_out["seed"]))

    def _require_folder(self) -> None:
        if not self.folder.is_dir():
            raise UserError(f"{self.folder} must be on a file system that all machines of the run share")

    def _assembled(self) -> Parts:
        parts = assemble(self.config, self.folder, self._trainer)
        self._open.callback(parts.datamodule.teardown, "fit")
        self._open.enter_context(closing(self._trainer.loggers))
        return parts

    def carry_out(self) -> None:
        """Evaluate, train from the start or from the checkpoint, evaluate again and write the report.

        Raises:
            FailedError: if another process of the run is lost.
        """
        with losses_named(self.folder):
            self._carry_out()

    def _carry_out(self) -> None:
        if self.checkpoint is not None:
            self._go_back_to(self.checkpoint)
        elif note := workload.note_without_experiment(self.config["run"], self.config["total_frames"]):
            self.say(note)
        for note in workload.notes(self.parts, self.worlds, self.config["total_frames"]):
            self.say(note)
        # Before the policy plays, so that an unknown name is found early.
        scripted = play_scripted(self.config["held_out"]["baselines"], self.worlds, "held_out: ")
        untrained = self.evaluate()
        if self.is_first:
            self._begin(untrained)
        self._announce({"untrained": untrained, **scripted})
        fit(self.parts, self.folder, self.checkpoint, self.say)
        state = self.parts.state
        seconds_training = state.training_seconds()
        trained, cut_short = self.evaluate(), self.parts.cut_short()
        counts = {
            "cut_short": cut_short,
            "seconds": state.seconds + time.monotonic() - self._start_s,
            "seconds_training": seconds_training,
            "processor_seconds": sum(distributed.gather(state.processor_seconds())),
        }
        policies = {"trained": trained, "untrained": untrained, **scripted}
        distributed.on_first_rank(lambda: self.report(policies, counts))  # nobody returns before the files are there

    def evaluate(self) -> list[Result]:
        """Return greedy results of the present policy on the training teams and in every held-out world.

        Raises:
            UserError: if the environment of an evaluation cannot be created.
        """
        return play_learned(self.parts.algorithm, self.worlds, "held_out: ")

    def report(self, policies: dict[str, list[Result]], counts: dict[str, float]) -> None:
        """Write and print the report; see `mipi_pl.run.report`.

        Raises:
            FailedError: if a file cannot be written.
        """
        outcome = report.Outcome(self.config, self.folder, self.parts, self.teams, policies, counts)
        missing = report.write_report(outcome, self.say)
        report.say_report(outcome, missing, self.say)
        if missing:
            raise FailedError(
                f"training is finished, but its results cannot be written: {', '.join(missing)}; {self._way_on()}"
            )

    def _way_on(self) -> str:
        """Returns advice for a run whose results could not be written."""
        try:
            newest = CheckpointFolder(self.folder).newest_whole(_in_silence)
        except DamagedError:
            newest = None
        if newest is None:
            return "no checkpoint could be written either, so train again where there is room"
        return (
            "once the folder is writable and has room, resume from the last checkpoint with: "
            f"mipi resume {run_folder.shown(self.folder)}"
        )

    def _go_back_to(self, checkpoint: Path) -> None:
        """Remove newer checkpoints, which training will write again.

        Raises:
            UserError: if the index of the checkpoints cannot be written.
        """

        def forget_newer() -> None:
            try:
                CheckpointFolder(self.folder).forget_after(checkpoint.name)
            except OSError as error:
                raise UserError(f"cannot write to {self.folder / 'checkpoints'} ({error.strerror})") from error

        distributed.on_first_rank(forget_newer)
        if not self.parts.resumes_exactly:
            self.say(
                "note: the environments run in other processes, so unfinished episodes are lost and new ones begin"
            )

    def _begin(self, untrained: Sequence[Result]) -> None:
        """Write the files that the run folder contains from the start."""
        folder = self.folder
        try:
            with replacing(folder / run_folder.CONFIG) as unfinished:
                OmegaConf.save(OmegaConf.create(dict(self.config)), unfinished)
            if self.checkpoint is None:
                write_json(folder / run_folder.PROVENANCE, provenance.provenance())
                run_folder.link_latest(folder.parent.parent, folder)
                report.write_evaluation(folder, 0, 0, untrained)
        except OSError as error:
            raise UserError(f"cannot write to {folder} ({error.strerror})") from error

    def _announce(self, policies: dict[str, list[Result]]) -> None:
        resumed = f", resumed from {self.checkpoint.name}" if self.checkpoint else ""
        where = f"folder {run_folder.shown(self.folder)}{resumed}"
        self.say(f"{report.title(self.config)}: {self.config['total_frames']:,} frames, {where}\n")
        for note in self.teams.notes():
            self.say(f"{note}\n")
        self.say(f"{comparison_table(policies)}\n")


def _make_folder(root: Path, name: str) -> tuple[Path, Path]:
    """Create the run folder; return it and the outermost folder that was created, which may be the run folder."""
    try:
        return run_folder.new_folder_and_root(root / name.replace("/", "-"))
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"output_dir: cannot write to {root} ({reason})") from error


def _in_silence(_: str) -> None:
    """Print nothing; used in all processes except the first."""
