"""`mipi check-env`: checks that a world keeps the contract that learning relies on."""

from __future__ import annotations

from argparse import Namespace

from mipi_pl.commands.options import AddParser, add_config_dir, add_overrides
from mipi_pl.utils.errors import FailedError

_DESCRIPTION = """\
Plays the environment that `mipi train` with the same keys would train in for a few seconds, at random, and checks what
learning relies on: shapes and types, masks, agents that see themselves, teams that match their compositions, finite
numbers, the time limit, equal episodes for equal seeds, and exact resumption. It says what is wrong and what to do.

The exit code is 1 if a check fails or could not be made."""


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command; it takes the overrides of `mipi train`."""
    parser = add_parser(
        "check-env",
        help="check an environment, for example your own",
        description=_DESCRIPTION,
    )
    add_overrides(parser, "as for mipi train")
    add_config_dir(parser, "folder of your own configs and modules")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Print a line for each check.

    Raises:
        FailedError: if a check fails or could not be made.
    """
    from mipi_pl.commands.findings import Finding, State, table
    from mipi_pl.envs.conformance import examine
    from mipi_pl.run.build import environment_factory, one_environment
    from mipi_pl.run.compose import compose
    from mipi_pl.run.config import check_train, resolve
    from mipi_pl.run.own_folder import as_flag

    config = check_train(resolve(compose([*as_flag(options.config_dir), *options.overrides])))
    make_env = environment_factory(config["env"])
    with one_environment(make_env):  # refuses arguments with a message
        pass
    checks = examine(make_env, config["seed"])
    states = {True: State.GOOD, False: State.WRONG, None: State.ABSENT}
    print(table(Finding(check.name, states[check.passed], check.detail, check.advice) for check in checks))
    name = config["run"]["environment"]
    if wrong := [check.name for check in checks if check.passed is False]:
        raise FailedError(f"{name} fails {len(wrong)} of {len(checks)} checks: {', '.join(wrong)}")
    if unknown := [check.name for check in checks if check.passed is None]:
        raise FailedError(f"{name} could not be checked: {', '.join(unknown)}")
