"""`mipi train`: trains agents."""

from __future__ import annotations

from argparse import Namespace

from mipi_pl.commands.options import AddParser


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command; Hydra parses all its arguments, including ``--help``."""
    summary = "train agents; -m seed=0,1,2 for several runs, --cfg job to show the config"
    add_parser("train", help=summary, raw=True, add_help=False).set_defaults(run=run)


def run(options: Namespace) -> None:
    """Train once or, with ``-m``, several times."""
    from mipi_pl.run.launch import launch

    launch(options.words)
