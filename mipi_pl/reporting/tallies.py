"""Scores from results.json and evaluations.csv, validated while reading."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mipi_pl.evaluation.statistics import Estimate
from mipi_pl.evaluation.worlds import TRAINING

_MOST_EPISODES = 2**31


@dataclass(frozen=True)
class Tally:
    """Score of a set of episodes.

    Attributes:
        score: win rate, or the mean return in worlds without winning, with its 95 % interval over the episodes.
        episodes: number of episodes.
        winnable: whether the score is a win rate.
        mean_return: mean return, also if the score is a win rate.
    """

    score: Estimate
    episodes: int
    winnable: bool
    mean_return: float = math.nan


@dataclass(frozen=True)
class Played:
    """One evaluation.

    Attributes:
        total: score of all episodes.
        by_size: score by team size.
        by_composition: team size and score by label of the composition.
    """

    total: Tally
    by_size: Mapping[int, Tally] = field(default_factory=dict)
    by_composition: Mapping[str, tuple[int, Tally]] = field(default_factory=dict)


def read_tally(row: Mapping[str, Any]) -> Tally:
    """Read a score from the keys of `Score.as_dict`, with values as numbers or text.

    Raises:
        ValueError: if a value is missing or impossible; the message names its key.
    """
    measure = "win_rate" if row.get("win_rate") not in (None, "") else "return"
    value, low, high = (_number(row, key) for key in (measure, f"{measure}_low", f"{measure}_high"))
    episodes = _number(row, "episodes")
    if not 1 <= episodes <= _MOST_EPISODES or episodes != int(episodes):
        raise ValueError(f"episodes must be a whole number from 1 to {_MOST_EPISODES}, got {episodes}")
    if measure == "win_rate" and not 0 <= value <= 1:
        raise ValueError(f"win_rate must be at least 0 and at most 1, got {value}")
    return Tally(Estimate(value, low, high), int(episodes), measure == "win_rate", _number(row, "return"))


def read_played(node: object) -> Played:
    """Read one evaluation of results.json.

    Raises:
        ValueError: if it does not have the structure of `Result.as_dict`.
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
    """Read all evaluations of one policy in results.json, the training teams first.

    Raises:
        ValueError: if they do not have the structure of results.json.
    """
    content = _mapping(node)
    named = {TRAINING: content[TRAINING], **_mapping(content["held_out"])}
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
        raise ValueError(
            f"{key} must be a number, got {row[key]!r}" if row.get(key) is not None else f"{key} is missing"
        ) from None
    if not math.isfinite(value):
        raise ValueError(f"{key} must be finite, got {value}")
    return value
