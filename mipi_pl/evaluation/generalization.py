"""How well a policy does in each team: the one evaluation used during training, after it, and by `mipi eval`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from mipi_pl import distributed
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.composition import Composition
from mipi_pl.evaluation.rollout import Episodes, Policy, play
from mipi_pl.evaluation.statistics import Estimate, mean, wilson
from mipi_pl.spec import EntitySpec

TRAINING = "training"
"""Name of the evaluation on the teams of training."""


class WorldError(ValueError):
    """An environment refuses the arguments of an evaluation."""


class MakeEnv(Protocol):
    """An environment config, instantiated: a factory that takes what differs."""

    def __call__(self, *, num_envs: int, seed: int, **changes: Any) -> EntityEnv:
        """A fresh environment."""
        ...


MakePolicy = Callable[[EntityEnv, int], Policy]
"""A fresh policy for an environment and a seed."""


@dataclass(frozen=True)
class World:
    """One evaluation.

    Attributes:
        name: how it is called in tables and metrics.
        changes: environment arguments that differ from training.
    """

    name: str
    changes: Mapping[str, Any]

    def environment(self, make_env: MakeEnv, num_envs: int, seed: int, trained: EntitySpec | None = None) -> EntityEnv:
        """The environment with the changes.

        Raises:
            WorldError: if the environment refuses them, or a list of mixes overrules the team sizes, or policies that
                were trained in a world like `trained` cannot act in it; the message names the evaluation.
        """
        try:
            env = make_env(num_envs=num_envs, seed=seed, **self.changes)
            played = sorted({composition.size for composition in env.compositions})
            only_sizes = set(self.changes) == {"team_sizes"} and "mixes" in env.team_arguments
            if only_sizes and not set(played) <= set(self.changes["team_sizes"]):
                raise ValueError(
                    f"teams of {size_range(played)} are played, whatever team_sizes says, since env.mixes lists them: "
                    "give the evaluation mixes of its own under held_out.worlds, or say env.mixes=all to mipi eval"
                )
            if trained is not None:
                trained.refuse_misfit(env.entity_spec)
            return env
        except (TypeError, ValueError) as error:
            changes = ", ".join(f"{key}={value}" for key, value in self.changes.items())
            raise WorldError(f"evaluation {self.name!r} ({changes or 'as in training'}): {error}") from error


def worlds_of(team_sizes: Sequence[int], others: Mapping[str, Mapping[str, Any]]) -> tuple[World, ...]:
    """The training teams first, then each held-out size, then the others."""
    return (
        World(TRAINING, {}),
        *(World(str(size), {"team_sizes": [size]}) for size in team_sizes),
        *(World(name, changes) for name, changes in others.items()),
    )


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


def evaluate(
    make_env: MakeEnv, make_policy: MakePolicy, worlds: Iterable[World], episodes: int, seed: int
) -> list[Result]:
    """Play `episodes` in each world.

    The episodes of a world depend on its name, the seed and their number alone: not on the other worlds, and not on
    PyTorch's global random state, which is left as it was found. Several processes divide the worlds and share the
    results; a world is played as a whole, so each gets the numbers that a single process would.

    Args:
        make_env: the environment of training.
        make_policy: the policy to judge.
        worlds: what to play.
        episodes: of each world.
        seed: of environments and policies.

    Raises:
        WorldError: if a world cannot be made.
        ValueError: if `episodes` is not positive.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    worlds = tuple(worlds)
    with torch.random.fork_rng(devices=[]):
        # A world that cannot be made is found before the first one is played.
        limits = [world.environment(make_env, 1, seed).max_evaluation_envs for world in worlds]

    def result(task: tuple[World, int]) -> Result:
        world, limit = task
        num_envs, world_seed = min(episodes, limit), seed_of(world.name, seed)
        # Seeding a TorchRL environment may seed PyTorch's global generator as well.
        with torch.random.fork_rng(devices=[]):
            env = world.environment(make_env, num_envs, world_seed)
            played = play(env, make_policy(env, world_seed), -(-episodes // num_envs)).first(episodes)
            env.close()
        return Result.of(world.name, env.compositions, played, env.winnable)

    return distributed.divided(zip(worlds, limits, strict=True), result)


def seed_of(name: str, seed: int) -> int:
    """A seed for each world, the same on every machine."""
    return int(np.random.SeedSequence([seed, *name.encode()]).generate_state(1)[0])


def size_range(sizes: Sequence[int]) -> str:
    """Such as ``3-5``, or ``3, 5`` when sizes between are missing."""
    if len(sizes) > 1 and list(sizes) == list(range(sizes[0], sizes[-1] + 1)):
        return f"{sizes[0]}-{sizes[-1]}"
    return ", ".join(str(size) for size in sizes)


def _flat(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
