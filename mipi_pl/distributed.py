"""The processes of one run: which one this is, and what all of them do together.

Every function but `rank`, `size`, `rank_seed` and `is_lost` must be called by all processes, in the same order. With a
single process, or where none were connected, each does nothing but its work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from mipi_pl.utils.checks import DivergedError

T = TypeVar("T")
Task = TypeVar("Task")

_OF_RANKS = "of_ranks"
"""Key under which a checkpoint holds the states of several processes."""


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if size() > 1 else 0


def rank_seed(seed: int) -> int:
    """Of this process, so that each draws numbers of its own; the first keeps the seed of the run."""
    return int(np.random.SeedSequence([seed, rank()]).generate_state(1)[0]) if rank() else seed


# ---------------------------------------------------------------------- tensors


def joint_mean(total: Tensor, count: Tensor) -> Tensor:
    """Share of this process in the mean over the elements of all, such that the mean of the shares is that mean.

    Averaged gradients of it are therefore the gradient of the mean over the joined batch, however the elements are
    spread. A single process divides its sum by its count.

    Args:
        total: sum over this process's elements.
        count: their number; if it is 0 in all processes, the sum is divided by 1.
    """
    if size() == 1:
        return total / count.clamp(min=1)
    everywhere = count.clone()
    dist.all_reduce(everywhere)
    return total * size() / everywhere.clamp(min=1)


def joint_mean_of(values: Tensor) -> Tensor:
    """`joint_mean` of all numbers of a vector."""
    return joint_mean(values.sum(), torch.tensor(len(values), device=values.device))


@torch.no_grad()
def mean_everywhere(total: Tensor, count: Tensor) -> Tensor:
    """The mean over the elements of all processes, the same number in each; without gradient.

    Args:
        total: sum over this process's elements.
        count: their number.
    """
    share = joint_mean(total, count)
    if size() > 1:
        dist.all_reduce(share)
        share = share / size()
    return share


def moments_everywhere(values: Tensor, times: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and variance over the elements of all processes, the same numbers in each; without gradient.

    Args:
        values: [P] of this process.
        times: int64 [P], how often each of them counts; None for once.
    """
    if times is None:
        times = torch.ones(len(values), dtype=torch.int64, device=values.device)
    count = times.sum()
    mean = mean_everywhere((times * values).sum(), count)
    return mean, mean_everywhere((times * (values - mean).square()).sum(), count)


@torch.no_grad()
def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes, in one message; one that no process has stays None."""
    if size() == 1:
        return
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    used = own[0].new_tensor([p.grad is not None for p in parameters])
    flat = torch.cat([*(gradient.flatten() for gradient in own), used])
    dist.all_reduce(flat)
    flat /= size()
    *means, used = flat.split([p.numel() for p in parameters] + [len(used)])
    for parameter, mean, share in zip(parameters, means, used.tolist(), strict=True):
        parameter.grad = mean.view_as(parameter) if share else None


def average(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Means of named numbers over the processes, in one message."""
    if size() == 1 or not values:
        return values
    flat = torch.stack([value.detach().double() for value in values.values()])
    dist.all_reduce(flat)
    return dict(zip(values, (flat / size()).unbind(), strict=True))


# ---------------------------------------------------------------------- decisions and objects


def anywhere(flag: bool) -> bool:
    """Whether it is True in any process."""
    return flag if size() == 1 else any(_all_numbers(int(flag)))


def together(work: Callable[[], int]) -> list[int]:
    """What `work` returns in each process: a number that is not negative.

    Raises:
        DivergedError: if it is raised in any process, with the message of the first that did.
    """
    if size() == 1:
        return [work()]
    found, message = -1, None
    try:
        found = work()
    except DivergedError as error:
        message = str(error)
    numbers = _all_numbers(found)
    if min(numbers) < 0:
        raise DivergedError(next(told for told in gather(message) if told is not None))
    return numbers


def gather(own: T) -> list[T]:
    """The object of each process, in the order of their numbers."""
    if size() == 1:
        return [own]
    found: list[Any] = [None] * size()
    dist.all_gather_object(found, own)
    return cast(list[T], found)


def by_first(work: Callable[[], T]) -> T:
    """What `work` returns in the first process, which alone does it; what it raises there is raised in all.

    In the others the exception has an attribute ``told``: the first process tells the user.
    """
    if size() == 1:
        return work()
    outcome: list[Any] = [None, None]
    if rank() == 0:
        try:
            outcome[0] = work()
        except Exception as error:  # whatever it is, the others wait to hear of it
            outcome[1] = error
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        outcome[1].told = rank() > 0
        raise outcome[1]
    return cast(T, outcome[0])


def divided(tasks: Iterable[Task], work: Callable[[Task], T]) -> list[T]:
    """The outcome of `work` for each task, in their order; the processes take the tasks in turn."""
    tasks = list(tasks)
    found = gather([work(task) for task in tasks[rank() :: size()]])
    return [found[number % size()][number // size()] for number in range(len(tasks))]


def is_lost(error: RuntimeError) -> bool:
    """Whether it says that another process can no longer be reached; Gloo's errors have no type of their own."""
    return size() > 1 and (isinstance(error, dist.DistError) or "gloo" in str(error).lower())


# ---------------------------------------------------------------------- states in a checkpoint


def join_states(own: dict[str, Any]) -> dict[str, Any]:
    """For the one checkpoint of all processes: the states of each; of a single process, its own as it is."""
    return own if size() == 1 else {_OF_RANKS: gather(own)}


def split_states(saved: dict[str, Any]) -> list[dict[str, Any]]:
    """The states that `join_states` joined, by process.

    Raises:
        ValueError: if they are not of as many processes as there are now.
    """
    found = saved.get(_OF_RANKS, [saved])
    if len(found) != size():
        raise ValueError(f"it holds the states of {len(found)} processes, and there are {size()} now")
    return cast(list[dict[str, Any]], found)


def own_state(saved: dict[str, Any]) -> dict[str, Any]:
    """The one of this process; as `split_states`."""
    return split_states(saved)[rank()]


def _all_numbers(own: int) -> list[int]:
    place = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    numbers = torch.zeros(size(), dtype=torch.int64, device=place)
    numbers[rank()] = own
    dist.all_reduce(numbers)
    return [int(number) for number in numbers.tolist()]
