"""`mipi compositions`."""

from __future__ import annotations

from argparse import Namespace

from mipi_pl.commands.options import AddParser

_DESCRIPTION = """\
Prints which compositions `mipi train` with the same keys would train on and which it would be evaluated on. It refuses
a split in which both overlap, and trains nothing. The split stands in env.split, the evaluations in held_out."""


def declare(add_parser: AddParser) -> None:
    """The words of `mipi train`."""
    add_parser(
        "compositions",
        help="list the teams to train on and those held out, such as of env=sz",
        description=_DESCRIPTION,
        usage="%(prog)s [key=value ...]",
        raw=True,
    ).set_defaults(run=run)


def run(options: Namespace) -> None:
    """Show the split of a config."""
    from mipi_pl.run.compose import compose
    from mipi_pl.run.config import check_train, resolve
    from mipi_pl.run.teams import teams_of

    config = resolve(compose(options.words))
    check_train(config)
    print(f"{config['run']['environment']}: {teams_of(config).table()}")
