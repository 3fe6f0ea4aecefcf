"""`mipi watch`."""

from __future__ import annotations

from pathlib import Path

from mipi_pl.commands.options import Parser, whole_number
from mipi_pl.utils.errors import UserError

USAGE = """\
mipi watch CHECKPOINT [key=value ...]  see it play: a page for the browser, and videos"""

_HELP = """\
Plays greedy episodes, the first ones that mipi eval plays, and writes watch.html and videos to watch/<time>/ in the run
folder. The page needs no network and no server: open it in a browser.

Keys are env.<argument>, such as env.team_sizes=[6,7] (episodes on each of these sizes; without it: on the teams of
training), seed, output_dir and threads, as for mipi eval."""

FORMATS = ("html", "gif", "mp4")


def run(arguments: list[str]) -> None:
    """Play, record, write."""
    parser = Parser("watch", _HELP)
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        type=Path,
        help="a file that mipi train or export wrote, or a policy that comes with the program: see mipi eval --help",
    )
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="see above")
    parser.add_argument("--episodes", type=whole_number, default=3, help="of each team size (default: 3)")
    parser.add_argument(
        "--against",
        metavar="WHAT",
        help="who plays the same teams with the same seeds beside it: another checkpoint, or a scripted policy",
    )
    parser.add_argument(
        "--format", action="append", choices=FORMATS, help="may be given several times (default: html and gif)"
    )
    wanted = parser.parse_intermixed_args(arguments)
    if wanted.episodes < 1:
        raise UserError(f"--episodes must be at least 1, got {wanted.episodes}")
    if "=" in str(wanted.checkpoint) and not wanted.checkpoint.exists():
        raise UserError(f"the first argument must be a checkpoint file, got {wanted.checkpoint}; see mipi watch --help")

    from mipi_pl.run.watch import watch_checkpoint

    watch_checkpoint(
        wanted.checkpoint, wanted.overrides, wanted.episodes, wanted.against, tuple(wanted.format or ("html", "gif"))
    )
