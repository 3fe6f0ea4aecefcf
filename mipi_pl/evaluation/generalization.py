"""Evaluation of a policy in several worlds, used by training, the final report and `mipi eval`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mipi_pl import distributed
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.composition import Composition
from mipi_pl.evaluation.rollout import Episodes, Policy, play
from mipi_pl.evaluation.statistics import Estimate, mean, wilson
from mipi_pl.evaluation.worlds import MakePolicy, World, Worlds, seed_of, size_range


@dataclass(frozen=True)
class Score:
    """Summary of a set of episodes.

    Attributes:
        episodes: number of episodes.
        win_rate: share of episodes won, with its 95 % interval; None in worlds without winning (`EntityEnv.winnable`).
        return_: mean return with its 95 % interval.
        length: mean number of steps.
    """

    episodes: int
    win_rate: Estimate | None
    return_: Estimate
    length: float

    @classmethod
    def from_episodes(cls, played: Episodes, winnable: bool = True) -> Score:
        """Summarize at least one episode."""
        return cls(
            episodes=len(played),
            win_rate=wilson(int(played.won.sum()), len(played)) if winnable else None,
            return_=mean(played.return_),
            length=float(played.length.double().mean()),
        )

    @property
    def headline(self) -> Estimate:
        """Win rate, or the return in worlds without winning."""
        return self.return_ if self.win_rate is None else self.win_rate

    @property
    def measure(self) -> str:
        """Name of `headline`: ``win rate`` or ``return``."""
        return "return" if self.win_rate is None else "win rate"

    def as_dict(self) -> dict[str, float | int]:
        """Return a flat dictionary for JSON and CSV, without win rates in worlds without winning."""
        rates = {} if self.win_rate is None else _flat("win_rate", self.win_rate)
        return {**rates, **_flat("return", self.return_), "length": self.length, "episodes": self.episodes}


@dataclass(frozen=True)
class Result:
    """Scores of one evaluation: in total, by team size and by composition.

    Attributes:
        name: name of the evaluation.
        sizes: team sizes that the world can draw.
        total: score of all episodes.
        by_size: score of each team size that was drawn.
        by_composition: team size and score of each composition that was drawn, by label.
        cut_short: number of episodes ended early by a fault of the world; the scores include their rewards so far.
    """

    name: str
    sizes: tuple[int, ...]
    total: Score
    by_size: dict[int, Score]
    by_composition: dict[str, tuple[int, Score]]
    cut_short: int

    @classmethod
    def from_episodes(
        cls, name: str, compositions: Sequence[Composition], played: Episodes, winnable: bool = True
    ) -> Result:
        """Group episodes by team size and composition, and compute the scores."""

        def score(rows: torch.Tensor) -> Score:
            return Score.from_episodes(played.where(rows), winnable)

        sizes = torch.tensor([composition.size for composition in compositions])
        size_of_episode = sizes[played.composition]
        by_size = {size: score(size_of_episode == size) for size in size_of_episode.unique().tolist()}
        # A world may list a composition several times, so that it is drawn more often.
        places: dict[Composition, list[int]] = defaultdict(list)
        for index in played.composition.unique().tolist():
            places[compositions[index]].append(index)
        by_composition = {
            composition.label: (composition.size, score(torch.isin(played.composition, torch.tensor(indices))))
            for composition, indices in places.items()
        }
        return cls(
            name=name,
            sizes=tuple(sorted(set(sizes.tolist()))),
            total=Score.from_episodes(played, winnable),
            by_size=by_size,
            by_composition=by_composition,
            cut_short=int(played.cut_short.sum()),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return a nested dictionary for JSON."""
        return {
            "sizes": size_range(self.sizes),
            **self.total.as_dict(),
            "cut_short": self.cut_short,
            "by_size": {str(size): score.as_dict() for size, score in self.by_size.items()},
            "by_composition": {
                label: {"size": size, **score.as_dict()} for label, (size, score) in self.by_composition.items()
            },
        }


def greedy_policies(algorithm: Any, **how: bool) -> MakePolicy:
    """Return a factory of greedy policies of an algorithm, with other arguments of `EntityAlgorithm.actor`."""

    def make(_: EntityEnv, seed: int) -> Policy:
        policy: Policy = algorithm.actor(greedy=True, seed=seed, **how)
        return policy

    return make


def evaluate(make_policy: MakePolicy, worlds: Worlds, chosen: Iterable[World] | None = None) -> list[Result]:
    """Evaluate a policy in all worlds, or in selected ones.

    PyTorch's global random state is unchanged afterwards. Several processes divide the worlds among them and share the
    results. One process plays all episodes of a world, so the results equal those of a single process.

    Args:
        make_policy: creates the policy to evaluate.
        worlds: worlds to play, and the number of episodes of each.
        chosen: worlds to select; None for all.

    Returns:
        A result per world.

    Raises:
        WorldError: if a world cannot be created.
    """
    worlds.check()

    def result(world: World) -> Result:
        with worlds.environment(world) as env:
            policy = make_policy(env, seed_of(world.name, worlds.seed))
            played = play(env, policy, -(-worlds.episodes // env.num_envs)).first(worlds.episodes)
            return Result.from_episodes(world.name, env.compositions, played, env.winnable)

    return distributed.map_over_ranks(worlds.worlds if chosen is None else chosen, result)


def _flat(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
