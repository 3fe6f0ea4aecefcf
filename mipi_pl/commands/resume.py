"""`mipi resume`."""

from __future__ import annotations

from pathlib import Path

from mipi_pl.commands.options import Parser

USAGE = "mipi resume RUN_FOLDER                 go on with an interrupted run, such as outputs/latest"

_HELP = """\
Goes on with a run that was stopped or killed, from its newest whole checkpoint, in its own folder and with its own
config, and ends as it would have ended without the interruption."""


def run(arguments: list[str]) -> None:
    """Go on with the run in a folder."""
    parser = Parser("resume", _HELP)
    parser.add_argument("folder", metavar="RUN_FOLDER", type=Path, help="such as outputs/latest")
    folder = parser.parse_args(arguments).folder

    from mipi_pl.run.resume import resume

    resume(folder)
