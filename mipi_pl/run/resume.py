"""`mipi resume`: continues an interrupted run in its own folder, or trains a run longer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mipi_pl import distributed
from mipi_pl.run import extension
from mipi_pl.run.lost_processes import watch
from mipi_pl.run.own_folder import open_run
from mipi_pl.run.processes import connect
from mipi_pl.run.quiet import quieten
from mipi_pl.run.schema import Config
from mipi_pl.run.train import Run
from mipi_pl.storage import provenance, run_folder
from mipi_pl.storage.checkpoint_file import RECORD, with_texts
from mipi_pl.storage.checkpoints import CheckpointFolder
from mipi_pl.storage.extended import lengthened
from mipi_pl.storage.files import DamagedError
from mipi_pl.storage.index import Entry
from mipi_pl.utils.checks import LOST_AFTER_S
from mipi_pl.utils.errors import UserError
from mipi_pl.utils.launched import is_first_process


def resume(
    run: Path,
    say: Callable[[str], None] = print,
    config_dir: Path | None = None,
    overrides: Sequence[str] = (),
) -> Path:
    """Resume a run from its newest intact checkpoint and train to its end, or to a later one.

    Args:
        run: run folder.
        say: function that prints messages to the user.
        config_dir: the user's own folder of modules; see `mipi_pl.run.own_folder.open_run`.
        overrides: ``total_frames=N`` trains a finished or an interrupted run to N frames; no other key may be changed.

    Returns:
        The run folder.

    Raises:
        UserError: if the run cannot be resumed, or another process is training in its folder.
        Interrupted: if the user stopped training again.
    """
    wanted, folder = extension.wanted_total(overrides), _existing_folder(run)
    finished, _ = standing = _standing(folder)
    if wanted is None and finished:
        raise UserError(
            f"{run} is finished: its results.json exists; to train it longer, name the new total: "
            f"mipi resume {run_folder.shown(folder)} total_frames=..."
        )
    recorded = extension.recorded(folder) if wanted is None else None
    total = recorded.total if recorded else wanted
    newest = _newest(folder, say if is_first_process() else lambda _: None)
    content, config = open_run(newest, config_dir)
    quieten()
    trainer = connect(config["trainer"])
    watch(config.get("lost_after_s", LOST_AFTER_S))  # older checkpoints lack it
    checkpoint = distributed.on_first_rank(lambda: newest)
    if checkpoint != newest:  # the first process may have found another checkpoint
        content, config = open_run(checkpoint, config_dir)
    record = content[RECORD]

    def going_on() -> Config:
        _refuse_other_size(record, run)
        moved = _moved(config, folder)
        longer = moved if total is None else lengthened(moved, total)
        if wanted is not None:  # a recorded extension may have come to its end without its results
            extension.refuse_short(wanted, record["frames"], run)
            extension.refuse_own_budgets(longer)
        return longer

    longer = distributed.on_all_ranks(going_on)
    _note_other_commit(record, checkpoint, say)

    def require_standing() -> None:
        if _standing(folder) != standing:
            raise UserError(f"{run} has gone on meanwhile: another process has trained it; run this command again")

    with Run(longer, folder, trainer, checkpoint=checkpoint, say=say, once_locked=require_standing) as training:
        if wanted is not None:
            follows = extension.following(folder, wanted, config["total_frames"])
            distributed.on_first_rank(lambda: extension.begin(folder, follows, record["frames"]))
        training.carry_out()
    return folder


def _existing_folder(run: Path) -> Path:
    folder = run.resolve()
    if folder.is_file() and folder.parent.name == "checkpoints":
        parent = run_folder.shown(folder.parent.parent)
        raise UserError(f"{run} is a checkpoint; resume takes the folder of its run: mipi resume {parent}")
    if not folder.is_dir():
        raise UserError(f"there is no run folder {run}; mipi train creates run folders below outputs/")
    return folder


def _refuse_other_size(record: dict[str, Any], run: Path) -> None:
    """Check that there are as many processes as wrote the checkpoint with this record."""
    written_by = record.get("processes", 1)
    if written_by != distributed.size():
        raise UserError(
            f"{run} was trained by {written_by} processes, each with its own state, and cannot be resumed with "
            f"{distributed.size()}: resume it with as many devices as before"
        )


def _note_other_commit(record: dict[str, Any], checkpoint: Path, say: Callable[[str], None]) -> None:
    writers, now = [record, *record.get("resumptions", [])], provenance.commit()
    written_at = writers[-1]["commit"]
    if written_at != now and distributed.rank() == 0:
        say(f"note: {checkpoint.name} was written at commit {written_at}, this is {now}: results may differ")


def _standing(folder: Path) -> tuple[bool, list[Entry]]:
    """Return whether a run is finished, and its checkpoints; only a process that trains it changes them."""
    return (folder / run_folder.RESULTS).exists(), CheckpointFolder(folder).known()


def _newest(folder: Path, say: Callable[[str], None]) -> Path:
    try:
        checkpoint = CheckpointFolder(folder).newest_whole(say)
    except DamagedError as error:
        raise UserError(str(error)) from error
    if checkpoint is None:
        shown = run_folder.shown(folder)
        if not (folder / run_folder.CONFIG).exists():
            raise UserError(
                f"{shown} is not a run folder: it has no {run_folder.CONFIG}; list run folders with: mipi runs {shown}"
            )
        raise UserError(f"{shown} has no checkpoint yet, so it cannot be resumed; start it again with mipi train")
    return checkpoint


def _moved(config: Config, folder: Path) -> Config:
    """Return the config with every path in its run folder changed to the same path in `folder`."""
    former = config["run"]["folder"]

    def change(text: str) -> str:
        inside = text == former or text.startswith(f"{former}/")
        return f"{folder}{text.removeprefix(former)}" if inside else text

    moved: Config = with_texts(config, change)
    return moved
