"""The worlds of an evaluation (training teams and held-out teams) and their environments."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mipi_pl.envs.base import EntityEnv, MakeEnv
from mipi_pl.evaluation.rollout import Policy
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.checks import require, require_seed
from mipi_pl.utils.closing import closed_on_error
from mipi_pl.utils.memory import require_memory

_RESULT_BYTES = 64
"""Memory per episode: its result, and copies while results are grouped."""
_MANY_STEPS = 20_000
"""Steps of a batch of environments, one after the other, that may take more than about ten seconds."""

TRAINING = "training"
"""Name of the evaluation on the training teams."""


class WorldError(ValueError):
    """An environment cannot be created with the arguments of an evaluation."""


MakePolicy = Callable[[EntityEnv, int], Policy]
"""Creates a policy for an environment and a seed."""


@dataclass(frozen=True)
class World:
    """The world of one evaluation.

    Attributes:
        name: name in tables and metrics.
        changes: environment arguments that differ from training.
    """

    name: str
    changes: Mapping[str, Any]

    def environment(self, make_env: MakeEnv, num_envs: int, seed: int, trained: EntitySpec | None = None) -> EntityEnv:
        """Create the environment of this world.

        Args:
            make_env: factory of the training environment.
            num_envs: number of environments to step at once.
            seed: random seed.
            trained: sizes of the world that the policies were trained in; None skips this check.

        Raises:
            WorldError: if the environment refuses the changes, a list of mixes overrides the team sizes, or policies
                trained in the world `trained` cannot act in this one. The message names the evaluation.
        """
        try:
            with closed_on_error(make_env(num_envs=num_envs, seed=seed, **self.changes)) as env:
                env.tolerant = True
                self._refuse_sizes_without_effect(env)
                if trained is not None:
                    trained.refuse_misfit(env.entity_spec)
                return env
        except (TypeError, ValueError) as error:
            changes = ", ".join(f"{key}={value}" for key, value in self.changes.items())
            raise WorldError(f"evaluation {self.name!r} ({changes or 'as in training'}): {error}") from error

    def _refuse_sizes_without_effect(self, env: EntityEnv) -> None:
        played = sorted({composition.size for composition in env.compositions})
        only_sizes = set(self.changes) == {"team_sizes"} and "mixes" in env.team_arguments
        if only_sizes and not set(played) <= set(self.changes["team_sizes"]):
            raise ValueError(
                f"team_sizes has no effect, teams of {size_range(played)} are played because env.mixes lists them: "
                "leave the size out of held_out.team_sizes, give the evaluation its own mixes in held_out.worlds, "
                "or pass env.mixes=all to mipi eval or mipi watch"
            )


def worlds_of(team_sizes: Sequence[int], others: Mapping[str, Mapping[str, Any]]) -> tuple[World, ...]:
    """Return the worlds of an evaluation: the training teams, then each held-out size, then the others.

    Args:
        team_sizes: held-out team sizes.
        others: changed environment arguments of further worlds, by name.
    """
    return (
        World(TRAINING, {}),
        *(World(str(size), {"team_sizes": [size]}) for size in team_sizes),
        *(World(name, changes) for name, changes in others.items()),
    )


def measure_of(winnable: bool) -> str:
    """Return the name of the score where episodes can be won, or cannot: ``win rate`` or ``return``."""
    return "win rate" if winnable else "return"


def require_episodes(name: str, episodes: int) -> None:
    """Check the number of episodes of an evaluation.

    Args:
        name: config key as the user writes it, for the message.
        episodes: episodes in each world.

    Raises:
        ValueError: if it is not positive, or the results do not fit into the memory of this machine.
    """
    require(name, episodes, 1)
    require_memory(f"the results of {episodes:,} episodes", _RESULT_BYTES * episodes, f"lower {name}")


def workload_note(worlds: int, episodes: int, max_steps: int) -> str | None:
    """Return a note for the user about an evaluation that may take long; None for one of the usual size.

    Args:
        worlds: number of worlds.
        episodes: episodes in each of them.
        max_steps: time limit of an episode, in steps.
    """
    if worlds * math.ceil(episodes / EntityEnv.max_evaluation_envs) * max_steps < _MANY_STEPS:
        return None
    return (
        f"note: an evaluation plays {episodes:,} episodes of up to {max_steps:,} steps in each of {worlds} worlds, up "
        f"to {worlds * episodes * max_steps:,} steps in all; Ctrl-C ends it"
    )


_State = dict[str, dict[str, Tensor]]
"""State of an environment, see `EntityEnv.get_extra_state`."""


class Worlds:
    """The environments of an evaluation: each is created once, reused for every evaluation, and closed at the end.

    The episodes of a world depend only on its name, the seed and the number of episodes, not on earlier evaluations:
    before each use, an environment is restored to its initial state. An environment that cannot be restored
    (`EntityEnv.resumable`), such as a running game, or that has no state before its first episode, is closed after each
    use and created again.

    Use it in a `with` statement, or call `close`.

    Args:
        make_env: factory of the training environment.
        worlds: worlds to play.
        episodes: number of episodes in each world.
        seed: random seed of environments and policies.

    Raises:
        ValueError: if `episodes` is not positive, `seed` is no whole number from 0, the results of the episodes do not
            fit into the memory of this machine, or two worlds have the same name.
    """

    def __init__(self, make_env: MakeEnv, worlds: Iterable[World], episodes: int, seed: int) -> None:
        require_episodes("episodes", episodes)
        require_seed(seed)
        self.worlds = tuple(worlds)
        names = [world.name for world in self.worlds]
        if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise ValueError(
                f"each evaluation needs a name of its own, got {', '.join(repeated)} more than once: name each team "
                "size once, and choose another name for a world that is called as one of them or training"
            )
        self.episodes, self.seed = episodes, seed
        self._make_env = make_env
        self._open: dict[str, tuple[EntityEnv, _State | None]] = {}
        self._num_envs: dict[str, int] = {}

    def __enter__(self) -> Worlds:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def check(self, spec: EntitySpec | None = None) -> None:
        """Create every world once with a single environment, so that errors appear before any world is played.

        Args:
            spec: sizes that a policy was made for; None for no such check. Worlds that were created before are not
                checked again.

        Raises:
            WorldError: if a world cannot be created, or the policy does not fit it.
        """
        for world in self.worlds:
            if world.name not in self._num_envs:
                with closing(self._make(world, 1, spec)) as env:
                    self._num_envs[world.name] = min(self.episodes, env.max_evaluation_envs)

    @contextmanager
    def single(self, world: World) -> Iterator[EntityEnv]:
        """Provide a single environment of one of the worlds, to read its sizes and names.

        Raises:
            WorldError: if the environment cannot be created.
        """
        with closing(self._make(world, 1)) as env:
            yield env

    @contextmanager
    def environment(self, world: World) -> Iterator[EntityEnv]:
        """Provide the environment of one of the worlds in its initial state.

        PyTorch's global random state is restored afterwards.

        Raises:
            WorldError: if the environment cannot be created.
        """
        self.check()
        is_open = world.name in self._open
        env, state = self._open.pop(world.name) if is_open else self._fresh(world)
        with closed_on_error(env), _global_generator_kept():
            env.set_seed(seed_of(world.name, self.seed))
            if state is not None:
                env.set_extra_state(state)
            yield env
        if state is None:
            env.close()
        else:
            self._open[world.name] = env, state

    def close(self) -> None:
        """Close all open environments."""
        while self._open:
            env, _ = self._open.popitem()[1]
            env.close()

    def _fresh(self, world: World) -> tuple[EntityEnv, _State | None]:
        env = self._make(world, self._num_envs[world.name])
        state = None
        if env.resumable:
            with suppress(Exception):  # a user's world may have no state to save before its first episode
                state = env.get_extra_state()
        return env, state

    def _make(self, world: World, num_envs: int, spec: EntitySpec | None = None) -> EntityEnv:
        with _global_generator_kept():
            return world.environment(self._make_env, num_envs, seed_of(world.name, self.seed), spec)


def _global_generator_kept() -> AbstractContextManager[None]:
    """Restores PyTorch's global random state afterwards, which seeding a TorchRL environment may change."""
    return torch.random.fork_rng(devices=[])


def seed_of(name: str, seed: int) -> int:
    """Derive the seed of a world from its name and a base seed; the same on every machine."""
    return int(np.random.SeedSequence([seed, *name.encode()]).generate_state(1)[0])


def size_range(sizes: Sequence[int]) -> str:
    """Format team sizes: ``3-5``, or ``3, 5`` if sizes in between are missing."""
    if len(sizes) > 1 and list(sizes) == list(range(sizes[0], sizes[-1] + 1)):
        return f"{sizes[0]}-{sizes[-1]}"
    return ", ".join(str(size) for size in sizes)
