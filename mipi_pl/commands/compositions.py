"""`mipi compositions`: prints the compositions of a run."""

from __future__ import annotations

from argparse import Namespace

from mipi_pl.commands.options import AddParser, add_config_dir, add_overrides

_DESCRIPTION = """\
Prints the compositions that `mipi train` with the same keys would train on and the compositions it would be evaluated
on, without training. It rejects a split in which they overlap. env.split sets the split, held_out the evaluations."""


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command; it takes the overrides of `mipi train`."""
    parser = add_parser(
        "compositions",
        help="list training and held-out teams, for example of env=sz",
        description=_DESCRIPTION,
    )
    add_overrides(parser, "as for mipi train")
    add_config_dir(parser, "folder of your own configs and modules")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Print the split of a config."""
    from mipi_pl.run.compose import compose
    from mipi_pl.run.config import check_train, resolve
    from mipi_pl.run.own_folder import as_flag
    from mipi_pl.run.teams import teams_of

    config = check_train(resolve(compose([*as_flag(options.config_dir), *options.overrides])))
    print(f"{config['run']['environment']}: {teams_of(config).table()}")
