"""Evaluation of a policy in each of several worlds; training, the final report and `mipi eval` all use it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mipi_pl import distributed
from mipi_pl.envs.composition import Composition
from mipi_pl.evaluation.rollout import Episodes, play
from mipi_pl.evaluation.statistics import Estimate, mean, wilson
from mipi_pl.evaluation.worlds import MakePolicy, World, Worlds, seed_of, size_range


@dataclass(frozen=True)
class Score:
    """What a set of episodes amounts to; the rate of wins and the mean return with their 95 % intervals.

    `win_rate` is None in a world where nothing is won (`EntityEnv.winnable`); `headline` is what counts in either kind.
    """

    episodes: int
    win_rate: Estimate | None
    return_: Estimate
    length: float

    @classmethod
    def of(cls, played: Episodes, winnable: bool = True) -> Score:
        """The score of at least one episode."""
        return cls(
            episodes=len(played),
            win_rate=wilson(int(played.won.sum()), len(played)) if winnable else None,
            return_=mean(played.return_),
            length=float(played.length.double().mean()),
        )

    @property
    def headline(self) -> Estimate:
        """The win rate, or the return where nothing is won."""
        return self.return_ if self.win_rate is None else self.win_rate

    @property
    def measure(self) -> str:
        """What `headline` is: ``win rate`` or ``return``."""
        return "return" if self.win_rate is None else "win rate"

    def as_dict(self) -> dict[str, float | int]:
        """Flat, for JSON and CSV; without win rates where nothing is won."""
        rates = {} if self.win_rate is None else _flat("win_rate", self.win_rate)
        return {**rates, **_flat("return", self.return_), "length": self.length, "episodes": self.episodes}


@dataclass(frozen=True)
class Result:
    """The outcome of one evaluation, as a whole, by team size and by composition.

    Attributes:
        name: of the evaluation.
        sizes: team sizes that the world can draw.
        total: all episodes.
        by_size: those sizes that were drawn.
        by_composition: label to (team size, score), those that were drawn.
        cut_short: episodes that a fault of the world has ended; they count as what they had come to.
    """

    name: str
    sizes: tuple[int, ...]
    total: Score
    by_size: dict[int, Score]
    by_composition: dict[str, tuple[int, Score]]
    cut_short: int

    @classmethod
    def of(cls, name: str, compositions: Sequence[Composition], played: Episodes, winnable: bool = True) -> Result:
        """Sort the episodes by what was played."""

        def score(rows: torch.Tensor) -> Score:
            return Score.of(played.where(rows), winnable)

        sizes = torch.tensor([composition.size for composition in compositions])
        size_of_episode = sizes[played.composition]
        by_size = {size: score(size_of_episode == size) for size in size_of_episode.unique().tolist()}
        by_composition = {
            compositions[index].label: (compositions[index].size, score(played.composition == index))
            for index in played.composition.unique().tolist()
        }
        return cls(
            name=name,
            sizes=tuple(sorted(set(sizes.tolist()))),
            total=Score.of(played, winnable),
            by_size=by_size,
            by_composition=by_composition,
            cut_short=int(played.cut_short.sum()),
        )

    def as_dict(self) -> dict[str, Any]:
        """Nested, for JSON."""
        return {
            "sizes": size_range(self.sizes),
            **self.total.as_dict(),
            "cut_short": self.cut_short,
            "by_size": {str(size): score.as_dict() for size, score in self.by_size.items()},
            "by_composition": {
                label: {"size": size, **score.as_dict()} for label, (size, score) in self.by_composition.items()
            },
        }


def evaluate(make_policy: MakePolicy, worlds: Worlds, chosen: Iterable[World] | None = None) -> list[Result]:
    """Play every world, or the chosen ones.

    PyTorch's global random state is left as it was found. Several processes divide the worlds and share the results; a
    world is played as a whole, so each gets the numbers that a single process would.

    Args:
        make_policy: the policy to judge.
        worlds: what to play, and how many episodes of it.
        chosen: some of them; None for all.

    Raises:
        WorldError: if a world cannot be made.
    """
    worlds.check()

    def result(world: World) -> Result:
        with worlds.environment(world) as env:
            policy = make_policy(env, seed_of(world.name, worlds.seed))
            played = play(env, policy, -(-worlds.episodes // env.num_envs)).first(worlds.episodes)
            return Result.of(world.name, env.compositions, played, env.winnable)

    return distributed.divided(worlds.worlds if chosen is None else chosen, result)


def _flat(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
