"""`mipi watch`: records episodes of a policy."""

from __future__ import annotations

from argparse import Namespace

from mipi_pl.commands.options import (
    AddParser,
    add_checkpoint,
    add_config_dir,
    add_overrides,
    checkpoint_of,
    whole_number,
)
from mipi_pl.utils.errors import UserError

_DESCRIPTION = """\
Plays greedy episodes, the first ones that mipi eval plays, and writes watch.html and videos to watch/<time>/ in the run
folder. The page needs no network or server: open it in a browser.

The keys are seed, output_dir, threads and env.<argument>, as for mipi eval. env.team_sizes=[6,7] plays episodes on each
of these sizes; without it, episodes are played on the training teams."""

_FORMATS = ("html", "gif", "mp4")


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command."""
    parser = add_parser(
        "watch", help="record episodes of a policy as an HTML page and videos", description=_DESCRIPTION
    )
    add_checkpoint(
        parser, "a file written by mipi train or export, or a policy that comes with the program: see mipi eval --help"
    )
    add_overrides(parser, "see above")
    parser.add_argument(
        "--episodes", type=whole_number, default=3, help="episodes per team size (default: %(default)s)"
    )
    parser.add_argument(
        "--against",
        metavar="POLICY",
        help="second policy to play the same teams with the same seeds: a checkpoint or a scripted policy",
    )
    parser.add_argument(
        "--format", action="append", choices=_FORMATS, help="output format; can be repeated (default: html and gif)"
    )
    add_config_dir(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Play episodes and write the page and the videos.

    Raises:
        UserError: if the number of episodes is below 1, or the first argument is an override instead of a checkpoint.
    """
    checkpoint, episodes = checkpoint_of(options), options.episodes
    if episodes < 1:
        raise UserError(f"--episodes must be at least 1, got {episodes}")

    from mipi_pl.run.own_folder import as_flag
    from mipi_pl.run.watch import watch_checkpoint

    formats = tuple(options.format or ("html", "gif"))
    overrides = [*as_flag(options.config_dir), *options.overrides]
    watch_checkpoint(checkpoint, overrides, episodes, options.against, formats)
