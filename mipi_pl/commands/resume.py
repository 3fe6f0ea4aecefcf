"""`mipi resume`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mipi_pl.commands.options import AddParser

_DESCRIPTION = """\
Goes on with a run that was stopped or killed, from its newest whole checkpoint, in its own folder and with its own
config, and ends as it would have ended without the interruption."""


def declare(add_parser: AddParser) -> None:
    """The folder."""
    summary = "go on with an interrupted run, such as outputs/latest"
    parser = add_parser("resume", help=summary, description=_DESCRIPTION)
    parser.add_argument("folder", metavar="RUN_FOLDER", type=Path, help="such as outputs/latest")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Go on with the run in a folder."""
    from mipi_pl.run.resume import resume

    resume(options.folder)
