"""The evaluations of `mipi train` and `mipi eval`: the learned policy and the scripted ones in the same worlds."""

from __future__ import annotations

from collections.abc import Sequence

from mipi_pl import distributed
from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.evaluation.baselines import chosen_baselines, play_baselines
from mipi_pl.evaluation.generalization import Result, evaluate, greedy_policies
from mipi_pl.evaluation.worlds import WorldError, Worlds
from mipi_pl.utils.errors import UserError, marked_as
from mipi_pl.utils.modules import evaluating


def play_learned(algorithm: EntityAlgorithm, worlds: Worlds, key: str = "") -> list[Result]:
    """Return the results of the greedy policy of an algorithm in each world.

    Args:
        algorithm: learner, or a loaded checkpoint.
        worlds: worlds to play.
        key: beginning of the message about a world that cannot be created, such as ``held_out: ``.

    Raises:
        UserError: if a world cannot be created.
    """
    try:
        with evaluating(algorithm):
            return evaluate(greedy_policies(algorithm), worlds)
    except WorldError as error:
        raise marked_as(error, UserError(f"{key}{error}")) from error


def play_scripted(names: Sequence[str] | None, worlds: Worlds, key: str = "") -> dict[str, list[Result]]:
    """Return the results of scripted policies in each world, by the name of the policy.

    Every process of a run must call this.

    Args:
        names: names of the policies; None selects all of the environment.
        worlds: worlds to play.
        key: beginning of the message about a world that cannot be created, such as ``held_out: ``.

    Raises:
        UserError: if a world cannot be created, or the environment does not have one of the policies.
    """

    def chosen() -> tuple[str, ...]:
        try:
            return chosen_baselines(names, worlds)
        except WorldError as error:
            raise UserError(f"{key}{error}") from error
        except ValueError as error:
            raise UserError(f"held_out.baselines: {error}") from error

    known = distributed.on_all_ranks(chosen)
    try:
        return play_baselines(known, worlds)
    except WorldError as error:
        raise marked_as(error, UserError(f"{key}{error}")) from error
