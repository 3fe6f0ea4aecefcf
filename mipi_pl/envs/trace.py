"""Trace: some episodes of a world under random actions, recorded for the checks of `mipi_pl.envs.conformance`."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.envs.base import EntityEnv, MakeEnv
from mipi_pl.envs.composition import Composition
from mipi_pl.envs.faults import refuse_misfits
from mipi_pl.envs.frame import Frame
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.errors import FailedError, UserError

_NUM_ENVS = 2
_EPISODES = 4
"""Episodes of each environment after which playing ends."""
_COMPARED = (
    keys.ENTITIES, keys.PRESENT, keys.VISIBLE, keys.ACTION_MASK, keys.COMPOSITION, keys.IS_INIT, keys.WON, keys.REWARD,
    keys.TERMINATED, keys.TRUNCATED,
)  # fmt: skip


@dataclass
class Trace:
    """Steps of B environments.

    Attributes:
        spec: sizes of the world.
        compositions: compositions of the world.
        num_envs: B.
        resumable: whether the world can be restored.
        steps: one TensorDict per step: the observation, the action, and ``next``.
        started: number of steps of each running episode before each step.
        lengths: lengths of all episodes that have ended.
        error: exception that ended playing.
        failed_in: name of the method that raised it.
        drew_globally: whether the world has used PyTorch's global generator.
    """

    spec: EntitySpec
    compositions: tuple[Composition, ...]
    num_envs: int
    resumable: bool
    steps: list[TensorDictBase] = field(default_factory=list)
    started: list[list[int]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    error: Exception | None = None
    failed_in: str = ""
    drew_globally: bool = False

    def where_it_failed(self) -> str:
        """Name the step that raised the exception."""
        return f"step {len(self.steps) + 1}" if self.failed_in.endswith("step") else "reset"

    def observations(self) -> Iterator[tuple[Callable[[Tensor], str], TensorDictBase]]:
        """Yield every observation with a function that names the place of an index [N, 1 + ...] whose first is b."""
        for td, started in zip(self.steps, self.started, strict=True):
            if 0 in started:
                yield _where(started), td.exclude("next")
            yield _where([steps + 1 for steps in started]), td["next"]

    def episodes(self) -> Iterator[tuple[int, list[TensorDictBase]]]:
        """Yield the environment and the observations of every episode, also of those that have not ended."""
        for b in range(self.num_envs):
            seen: list[TensorDictBase] = []
            for td, started in zip(self.steps, self.started, strict=True):
                if started[b] == 0:
                    if seen:
                        yield b, seen
                    seen = [td]
                seen.append(td["next"])
            if seen:
                yield b, seen

    def played(self) -> Iterator[tuple[int, int, str | None]]:
        """Yield after each step of each environment: the environment, the length so far, and how the episode ended."""
        for td, started in zip(self.steps, self.started, strict=True):
            for b, steps in enumerate(started):
                ended = [key for key in (keys.TERMINATED, keys.TRUNCATED) if bool(td["next", key][b])]
                yield b, steps + 1, ended[0] if ended else None


def _where(steps: list[int]) -> Callable[[Tensor], str]:
    def where(index: Tensor) -> str:
        b = int(index[0, 0])
        return f"environment {b}, {f'step {steps[b]}' if steps[b] else 'the first observation'}"

    return where


def play(make_env: MakeEnv, seed: int, seconds: float = np.inf, steps: int = 2_000, disturb: bool = False) -> Trace:
    """Play at random until each environment has ended some episodes, or for a number of steps or seconds.

    Args:
        make_env: factory of the environment.
        seed: seed of the environment and of the actions.
        seconds: time after the first step at which playing ends.
        steps: steps after which it ends.
        disturb: play exactly `steps`, and set the global generators to other states before.
    """
    if disturb:
        _disturb_global_generators()
    env = make_env(num_envs=_NUM_ENVS, seed=seed)
    env.checked = env.tolerant = False
    _guard(env)
    trace = Trace(env.entity_spec, env.compositions, env.num_envs, env.resumable)
    draw, ended, until = draws(seed), [0] * env.num_envs, np.inf
    trace.failed_in = f"{type(env).__name__}.reset"
    before = torch.random.get_rng_state()
    try:
        td, started = env.reset(), [0] * env.num_envs
        while len(trace.steps) < steps and (disturb or min(ended) < _EPISODES):
            if time.monotonic() > until:
                break
            trace.failed_in = f"{type(env).__name__}.step"
            step, td = env.step_and_maybe_reset(_acted(td, draw))
            trace.steps.append(step.clone())
            if len(trace.steps) == 1:  # the first reset may take long, for example to start a game
                until = time.monotonic() + seconds
            trace.started.append(started)
            done = step["next", keys.DONE].flatten().tolist()
            trace.lengths += [n + 1 for n, over in zip(started, done, strict=True) if over]
            ended = [n + over for n, over in zip(ended, done, strict=True)]
            started = [0 if over else n + 1 for n, over in zip(started, done, strict=True)]
    except (UserError, FailedError):
        raise
    except Exception as error:
        trace.error = error
    finally:
        env.close()
    trace.drew_globally = not torch.equal(torch.random.get_rng_state(), before)
    return trace


def draws(seed: int) -> np.random.Generator:
    """Return the generator of the actions."""
    return np.random.default_rng([seed, 1])


def play_on(
    env: EntityEnv, td: TensorDictBase, steps: int, draw: np.random.Generator
) -> tuple[list[TensorDictBase], TensorDictBase]:
    """Play some steps at random from an observation and return them with the last observation."""
    played = []
    for _ in range(steps):
        step, td = env.step_and_maybe_reset(_acted(td, draw))
        played.append(step.clone())
    return played, td


def difference(one: TensorDictBase, two: TensorDictBase) -> str | None:
    """Return which part of two steps differs, NaN being equal to itself."""
    for key in _COMPARED:
        if not torch.equal(one["next", key].nan_to_num(7e7), two["next", key].nan_to_num(7e7)):
            name = key if isinstance(key, str) else key[-1]
            return f"{name} differs"
    return None


def _acted(td: TensorDictBase, draw: np.random.Generator) -> TensorDictBase:
    """Write random available actions; 0 for an agent that has none."""
    mask = td[keys.ACTION_MASK].numpy()
    scores = np.where(mask, draw.random(mask.shape), -1.0)
    scores[..., 0] = np.maximum(scores[..., 0], -0.5)
    return td.set(keys.ACTION, torch.from_numpy(scores.argmax(axis=-1)))


def _guard(env: EntityEnv) -> None:
    """Check after each call of `begin` and `advance` that the frame has kept its shapes and types."""
    expected = Frame.empty(env.num_envs, env.entity_spec)

    def guarded(method: Callable[[Tensor, Frame], None]) -> Callable[[Tensor, Frame], None]:
        def call(given: Tensor, frame: Frame) -> None:
            method(given, frame)
            refuse_misfits(frame, expected)

        return call

    for name in ("begin", "advance"):
        setattr(env, name, guarded(getattr(env, name)))


@contextmanager
def global_generators_kept() -> Iterator[None]:
    """Restore the global generators of Python, NumPy and PyTorch afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def _disturb_global_generators() -> None:
    random.seed(99)
    np.random.seed(99)  # noqa: NPY002
    torch.manual_seed(99)
