"""`mipi resume`: continues an interrupted run, or trains a run longer."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mipi_pl.commands.options import AddParser, add_config_dir

_DESCRIPTION = """\
Continues a run that was stopped or killed, from its newest intact checkpoint, in its own folder and with its own
config. The result is the same as without the interruption.

total_frames=N trains a run, also a finished one, to N frames in all. Schedules that depend on total_frames, such as the
decay of the learning rates, follow the new total; no other key can be changed. The former results are kept in
earlier/."""


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command."""
    summary = "continue an interrupted run, such as outputs/latest, or train it longer with total_frames=N"
    parser = add_parser("resume", help=summary, description=_DESCRIPTION)
    parser.add_argument("folder", metavar="RUN_FOLDER", type=Path, help="folder of the run, such as outputs/latest")
    parser.add_argument("overrides", metavar="total_frames=N", nargs="*", default=(), help="train to N frames in all")
    add_config_dir(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Resume the run in a folder.

    Raises:
        UserError: if the run cannot be resumed.
    """
    from mipi_pl.run.own_folder import existing
    from mipi_pl.run.resume import resume

    resume(options.folder, config_dir=existing(options.config_dir), overrides=options.overrides)
