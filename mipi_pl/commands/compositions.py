"""`mipi compositions`: prints the compositions of a run."""

from __future__ import annotations

from argparse import Namespace

from mipi_pl.commands.options import AddParser
from mipi_pl.run.config_files import CONFIG_DIR

_DESCRIPTION = """\
Prints the compositions that `mipi train` with the same keys would train on and the compositions it would be evaluated
on, without training. It rejects a split in which they overlap. env.split sets the split, held_out the evaluations."""


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command; it takes the same arguments as `mipi train`."""
    add_parser(
        "compositions",
        help="list training and held-out teams, for example of env=sz",
        description=_DESCRIPTION,
        usage="%(prog)s [--config-dir FOLDER] [key=value ...]",
        raw=True,
        flags=CONFIG_DIR,
    ).set_defaults(run=run)


def run(options: Namespace) -> None:
    """Print the split of a config."""
    from mipi_pl.run.compose import compose
    from mipi_pl.run.config import check_train, resolve
    from mipi_pl.run.teams import teams_of

    config = resolve(compose(options.words))
    check_train(config)
    print(f"{config['run']['environment']}: {teams_of(config).table()}")
