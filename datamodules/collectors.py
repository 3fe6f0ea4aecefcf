"""Choice of the collector, and checks of its options before anything is started."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from importlib.util import find_spec

from mipi_pl.actor import Actor
from mipi_pl.datamodules.sources import InlineSource, StepSource
from mipi_pl.datamodules.workers import ProcessSource, RaySource
from mipi_pl.envs.base import EntityEnv, MakeEnv
from mipi_pl.utils.checks import LOST_AFTER_S, require, require_lost_after
from mipi_pl.utils.extras import how_to_install


class CollectorKind(str, Enum):
    """Where the environments are stepped."""

    INLINE = "inline"
    PROCESSES = "processes"
    RAY = "ray"


def make_source(
    kind: CollectorKind,
    env: EntityEnv,
    make_env: MakeEnv,
    num_envs: int,
    steps: int,
    workers: int,
    own_copy: bool,
    lost_after_s: float = LOST_AFTER_S,
) -> Callable[[Actor, int, Callable[[], int]], StepSource]:
    """Return a factory of the step source.

    Its arguments are the actor, the seed, and a function that returns the number of frames collected so far.
    """
    if kind is CollectorKind.INLINE:
        return lambda actor, *_: InlineSource(env, actor, steps, own_copy)
    source = RaySource if kind is CollectorKind.RAY else partial(ProcessSource, lost_after_s=lost_after_s)
    return lambda actor, seed, frames: source(make_env, num_envs, actor, steps, workers, seed, frames)


def check_workers(kind: CollectorKind, workers: int, num_envs: int, lost_after_s: float) -> None:
    """Check the options of workers, and that Ray is installed if it is needed.

    Raises:
        ValueError: if the environments cannot be divided evenly among the workers, `lost_after_s` is out of range, or
            Ray is not installed.
    """
    require("datamodule.workers", workers, 1)
    require_lost_after("datamodule.lost_after_s", lost_after_s)
    if kind is CollectorKind.INLINE:
        return
    if num_envs % workers:
        raise ValueError(f"datamodule.workers ({workers}) must divide datamodule.num_envs ({num_envs})")
    if kind is CollectorKind.RAY and find_spec("ray") is None:
        raise ValueError(f"datamodule.collector=ray needs Ray: {how_to_install('ray')}, or use collector=processes")
