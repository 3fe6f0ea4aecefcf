"""Scores as they stand in results.json and evaluations.csv, read with mistrust."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mipi_pl.evaluation.statistics import Estimate

_MOST_EPISODES = 2**31


@dataclass(frozen=True)
class Tally:
    """What a set of episodes came to.

    Attributes:
        score: win rate, or the mean return where nothing is won, with the 95 % interval over its episodes.
        episodes: how many.
        winnable: whether the score is a win rate.
        mean_return: also where something is won.
    """

    score: Estimate
    episodes: int
    winnable: bool
    mean_return: float = math.nan


@dataclass(frozen=True)
class Played:
    """One evaluation: as a whole, by team size, and by composition with its team size."""

    total: Tally
    by_size: Mapping[int, Tally] = field(default_factory=dict)
    by_composition: Mapping[str, tuple[int, Tally]] = field(default_factory=dict)


def read_tally(row: Mapping[str, Any]) -> Tally:
    """From the keys of `Score.as_dict`, as numbers or as text.

    Raises:
        ValueError: if one is missing or impossible; the message names it.
    """
    measure = "win_rate" if row.get("win_rate") not in (None, "") else "return"
    value, low, high = (_number(row, key) for key in (measure, f"{measure}_low", f"{measure}_high"))
    episodes = _number(row, "episodes")
    if not 1 <= episodes <= _MOST_EPISODES or episodes != int(episodes):
        raise ValueError(f"episodes is {episodes}")
    if measure == "win_rate" and not 0 <= value <= 1:
        raise ValueError(f"win_rate is {value}")
    return Tally(Estimate(value, low, high), int(episodes), measure == "win_rate", _number(row, "return"))


def read_played(node: object) -> Played:
    """One evaluation of results.json.

    Raises:
        ValueError: if it is not what `Result.as_dict` writes.
    """
    sizes, compositions = _mapping(_mapping(node)["by_size"]), _mapping(_mapping(node)["by_composition"])
    return Played(
        read_tally(_mapping(node)),
        {int(size): read_tally(_mapping(score)) for size, score in sizes.items()},
        {
            label: (int(_number(_mapping(score), "size")), read_tally(_mapping(score)))
            for label, score in compositions.items()
        },
    )


def read_policy(node: object) -> dict[str, Played]:
    """All evaluations of one policy, the training teams first.

    Raises:
        ValueError: if it is not what results.json holds.
    """
    found = _mapping(node)
    named = {"training": found["training"], **_mapping(found["held_out"])}
    return {name: read_played(evaluation) for name, evaluation in named.items()}


class _Strict(dict[str, Any]):
    def __missing__(self, key: str) -> Any:
        raise ValueError(f"{key} is missing")


def _mapping(node: object) -> _Strict:
    if not isinstance(node, Mapping):
        raise ValueError(f"expected a mapping, got {type(node).__name__}")
    return _Strict({str(key): value for key, value in node.items()})


def _number(row: Mapping[str, Any], key: str) -> float:
    try:
        value = float(row[key])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{key} is {row[key]!r}" if row.get(key) is not None else f"{key} is missing") from None
    if not math.isfinite(value):
        raise ValueError(f"{key} is {value}")
    return value
