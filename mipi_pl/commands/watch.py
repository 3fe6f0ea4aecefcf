"""`mipi watch`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mipi_pl.commands.options import AddParser, whole_number
from mipi_pl.utils.errors import UserError

_DESCRIPTION = """\
Plays greedy episodes, the first ones that mipi eval plays, and writes watch.html and videos to watch/<time>/ in the run
folder. The page needs no network and no server: open it in a browser.

Keys are env.<argument>, such as env.team_sizes=[6,7] (episodes on each of these sizes; without it: on the teams of
training), seed, output_dir and threads, as for mipi eval."""

_FORMATS = ("html", "gif", "mp4")


def declare(add_parser: AddParser) -> None:
    """A checkpoint, overrides and options."""
    parser = add_parser("watch", help="see a policy play: a page for the browser, and videos", description=_DESCRIPTION)
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        type=Path,
        help="a file that mipi train or export wrote, or a policy that comes with the program: see mipi eval --help",
    )
    parser.add_argument("overrides", metavar="key=value", nargs="*", default=(), help="see above")
    parser.add_argument("--episodes", type=whole_number, default=3, help="of each team size (default: 3)")
    parser.add_argument(
        "--against",
        metavar="WHAT",
        help="who plays the same teams with the same seeds beside it: another checkpoint, or a scripted policy",
    )
    parser.add_argument(
        "--format", action="append", choices=_FORMATS, help="may be given several times (default: html and gif)"
    )
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Play, record, write.

    Raises:
        UserError: for a number of episodes below 1, or an override in the place of the checkpoint.
    """
    checkpoint, episodes = options.checkpoint, options.episodes
    if episodes < 1:
        raise UserError(f"--episodes must be at least 1, got {episodes}")
    if "=" in str(checkpoint) and not checkpoint.exists():
        raise UserError(f"the first argument must be a checkpoint file, got {checkpoint}; see mipi watch --help")

    from mipi_pl.run.watch import watch_checkpoint

    formats = tuple(options.format or ("html", "gif"))
    watch_checkpoint(checkpoint, options.overrides, episodes, options.against, formats)
