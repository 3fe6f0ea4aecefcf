"""`mipi compositions`."""

from __future__ import annotations

USAGE = "mipi compositions [key=value ...]      teams to train on and those held out, such as of env=sz"

_HELP = """\
mipi compositions [key=value ...]

Prints which compositions `mipi train` with the same keys would train on and
which it would be evaluated on. It refuses a split in which both overlap, and
trains nothing. The split stands in env.split, the evaluations in held_out."""


def run(arguments: list[str]) -> None:
    """Show the split of a config."""
    if {"--help", "-h"} & set(arguments):
        print(_HELP)
        return

    from mipi_pl.run.compose import compose
    from mipi_pl.run.config import check_train, resolve
    from mipi_pl.run.teams import teams_of

    config = resolve(compose(arguments))
    check_train(config)
    print(f"{config['run']['environment']}: {teams_of(config).table()}")
