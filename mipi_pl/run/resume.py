"""`mipi resume`: a run that was interrupted goes on in its own folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mipi_pl import distributed
from mipi_pl.run.own_folder import use_modules
from mipi_pl.run.processes import connect
from mipi_pl.run.quiet import quieten
from mipi_pl.run.teams import teams_of
from mipi_pl.run.train import Run, moved
from mipi_pl.storage import provenance, run_folder
from mipi_pl.storage.checkpoint_file import RECORD, read_checkpoint
from mipi_pl.storage.checkpoints import CheckpointFolder
from mipi_pl.storage.files import DamagedError
from mipi_pl.utils.errors import UserError


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
    if folder.is_file() and folder.parent.name == "checkpoints":
        of_run = run_folder.shown(folder.parent.parent)
        raise UserError(f"{run} is a checkpoint; resume takes the folder of its run: mipi resume {of_run}")
    if not folder.is_dir():
        raise UserError(f"there is no run folder {run}; mipi train makes one below outputs/")
    if (folder / run_folder.RESULTS).exists():
        raise UserError(
            f"{run} is finished: its results.json is written, there is nothing to resume; to train longer, train anew "
            "with a larger total_frames, which schedules depend on"
        )
    newest = _newest(folder, say)
    content, config = read_checkpoint(newest)
    use_modules(config.get("config_dir"))
    quieten()
    trainer = connect(config["trainer"])
    checkpoint = distributed.by_first(lambda: newest)
    if checkpoint != newest:  # the first process may have seen another one
        content, config = read_checkpoint(checkpoint)
    written_by = content[RECORD].get("processes", 1)
    if written_by != distributed.size():
        raise UserError(
            f"{run} was trained by {written_by} processes, each with a state of its own, and would go on with "
            f"{distributed.size()}: resume it with as many devices"
        )
    written_at, now = content[RECORD]["commit"], provenance.commit()
    if written_at != now and distributed.rank() == 0:
        say(f"note: {checkpoint.name} was written at commit {written_at}, this is {now}: the run may go on differently")
    config = moved(config, folder)
    with Run(config, folder, trainer, teams_of(config), checkpoint, say) as training:
        training.carry_out()
    return folder


def _newest(folder: Path, say: Callable[[str], None]) -> Path:
    try:
        checkpoint = CheckpointFolder(folder).newest_whole(say)
    except DamagedError as error:
        raise UserError(str(error)) from error
    if checkpoint is None:
        shown = run_folder.shown(folder)
        if not (folder / run_folder.CONFIG).exists():
            raise UserError(
                f"{shown} is no run folder, it has no {run_folder.CONFIG}; those below it: mipi runs {shown}"
            )
        raise UserError(f"{shown} has no checkpoint yet: nothing can be resumed, start it anew with mipi train")
    return checkpoint
