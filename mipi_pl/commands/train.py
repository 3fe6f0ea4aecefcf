"""`mipi train`."""

from __future__ import annotations

from argparse import Namespace

from mipi_pl.commands.options import AddParser


def declare(add_parser: AddParser) -> None:
    """Hydra reads the words behind the command, ``--help`` as well."""
    summary = "train agents; several runs: -m seed=0,1,2; only show the config: --cfg job"
    add_parser("train", help=summary, raw=True, add_help=False).set_defaults(run=run)


def run(options: Namespace) -> None:
    """Train."""
    from mipi_pl.run.compose import launch

    launch(options.words)
