"""Ranks and collective operations of the processes of a run.

All processes must call these functions in the same order, except `rank`, `size`, `size_here`, `rank_seed` and
`is_lost`, which any process may call at any time. In a single process, or without an initialized process group, no
function communicates.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from mipi_pl.utils.errors import DivergedError, FailedError, UserError, mark_reported
from mipi_pl.utils.memory import ShortageError, is_shortage

T = TypeVar("T")
Task = TypeVar("Task")

_OF_RANKS = "of_ranks"
"""Key under which a checkpoint stores the states of several processes."""


def size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def size_here() -> int:
    """Return the number of processes on this machine; launchers start equally many on each."""
    here = os.environ.get("LOCAL_WORLD_SIZE")  # of torchrun
    machines = int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
    return min(size(), int(here) if here else -(-size() // machines))


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if size() > 1 else 0


def rank_seed(seed: int) -> int:
    """Return the seed of this process, derived from the seed of the run; the first process uses `seed` itself."""
    return int(np.random.SeedSequence([seed, rank()]).generate_state(1)[0]) if rank() else seed


# ---------------------------------------------------------------------- tensors


def joint_mean(total: Tensor, count: Tensor) -> Tensor:
    """Return this process's share of the mean over the elements of all processes.

    The mean of the shares over the processes is the mean over all elements. Averaging the gradients of the shares
    therefore gives the gradient of the mean over the joined batch, however the elements are distributed. In a single
    process this is the sum divided by the count.

    Args:
        total: sum over this process's elements.
        count: number of this process's elements; if it is 0 in all processes, the sum is divided by 1.
    """
    if size() == 1:
        return total / count.clamp(min=1)
    everywhere = count.clone()
    dist.all_reduce(everywhere)
    return total * size() / everywhere.clamp(min=1)


def joint_mean_of(values: Tensor) -> Tensor:
    """Return `joint_mean` of the elements of a vector."""
    return joint_mean(values.sum(), torch.tensor(len(values), device=values.device))


@torch.no_grad()
def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """Return the mean over the elements of all processes, the same number in each process; without gradient.

    Args:
        total: sum over this process's elements.
        count: number of this process's elements.
    """
    share = joint_mean(total, count)
    if size() > 1:
        dist.all_reduce(share)
        share = share / size()
    return share


def global_moments(values: Tensor, times: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return mean and variance over the elements of all processes, the same in each process; without gradient.

    Args:
        values: [P], elements of this process.
        times: int64 [P], number of times that each element counts; None for once.
    """
    if times is None:
        times = torch.ones(len(values), dtype=torch.int64, device=values.device)
    count = times.sum()
    mean = global_mean((times * values).sum(), count)
    return mean, global_mean((times * (values - mean).square()).sum(), count)


@torch.no_grad()
def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes, in one all-reduce; if no process has it, it stays None."""
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
    """Return the means of named numbers over the processes, in one all-reduce."""
    if size() == 1 or not values:
        return values
    flat = torch.stack([value.detach().double() for value in values.values()])
    dist.all_reduce(flat)
    return dict(zip(values, (flat / size()).unbind(), strict=True))


# ---------------------------------------------------------------------- decisions and objects


def any_rank(flag: bool) -> bool:
    """Return whether `flag` is True in any process."""
    return flag if size() == 1 else any(_all_numbers(int(flag)))


def run_and_gather(work: Callable[[], int]) -> list[int]:
    """Run `work` in every process and return all results, by rank; `work` must return a number that is not negative.

    Raises:
        DivergedError: if `work` raises it in any process, with the message of the first such process.
    """
    if size() == 1:
        return [work()]
    result, message = -1, None
    try:
        result = work()
    except DivergedError as error:
        message = str(error)
    results = _all_numbers(result)
    if min(results) < 0:
        raise DivergedError(next(text for text in gather(message) if text is not None))
    return results


def gather(own: T) -> list[T]:
    """Return the objects of all processes, by rank."""
    if size() == 1:
        return [own]
    objects: list[Any] = [None] * size()
    dist.all_gather_object(objects, own)
    return cast(list[T], objects)


def on_first_rank(work: Callable[[], T]) -> T:
    """Run `work` in the first process only and return its result, or raise its exception, in all processes.

    In the other processes the exception is marked as reported: the first process informs the user.
    """
    if size() == 1:
        return work()
    outcome: list[Any] = [None, None]
    if rank() == 0:
        try:
            outcome[0] = work()
        except Exception as error:  # of any kind, because the other processes wait for the outcome
            outcome[1] = error
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        mark_reported(outcome[1], rank() > 0)
        raise outcome[1]
    return cast(T, outcome[0])


def on_all_ranks(work: Callable[[], T]) -> T:
    """Run `work` in every process and return its result, unless a process finds a mistake, which then ends all of them.

    Raises:
        UserError: the mistake of this process, or of the first process that has one. The first process reports its own
            or the first other one. In another process it is marked as reported if a process of lower rank reports the
            same message, or this process has none.
    """
    if size() == 1:
        return work()
    mistake = None
    try:
        result = work()
    except UserError as error:
        mistake = error
    messages = gather(None if mistake is None else str(mistake))
    first = next((message for message in messages if message is not None), None)
    if mistake is None and first is None:
        return result
    ended = mistake or UserError(first)
    mark_reported(ended, rank() > 0 and (mistake is None or str(mistake) in (first, *messages[: rank()])))
    raise ended


def map_over_ranks(tasks: Iterable[Task], work: Callable[[Task], T]) -> list[T]:
    """Divide the tasks among the processes and return the results of `work`, in the order of the tasks.

    Raises:
        Exception: of `work`. If it is one of this program, all processes raise it, otherwise the others raise a
            FailedError with its message. It is marked as reported except in the first process.
    """
    tasks = list(tasks)
    own: list[T] = []
    failure: Exception | None = None
    try:
        own = [work(task) for task in tasks[rank() :: size()]]
    except Exception as error:  # of any kind, because the other processes wait for the results
        if size() == 1:
            raise
        failure = error
    outcomes = gather((own, None if failure is None else _repeatable(failure)))
    for _, reason in outcomes:
        if reason is not None:
            failure = failure or reason[0](reason[1])
            mark_reported(failure, rank() > 0)
            raise failure
    return [outcomes[number % size()][0][number // size()] for number in range(len(tasks))]


def _repeatable(error: Exception) -> tuple[type[Exception], str]:
    """Return type and message of an exception, to raise it in other processes, which may not know its type."""
    if type(error).__module__.startswith("mipi_pl."):
        return type(error), str(error)
    if is_shortage(error):
        return FailedError, f"process {rank()}: {ShortageError(error)}"
    return FailedError, f"process {rank()}: {': '.join(filter(None, (type(error).__name__, str(error))))}"


def is_lost(error: RuntimeError) -> bool:
    """Return whether the error means that another process is unreachable; Gloo's errors have no type of their own."""
    return size() > 1 and (isinstance(error, dist.DistError) or "gloo" in str(error).lower())


# ---------------------------------------------------------------------- states in a checkpoint


def join_states(own: dict[str, Any]) -> dict[str, Any]:
    """Return the states of all processes as one checkpoint entry; in a single process, `own` itself."""
    return own if size() == 1 else {_OF_RANKS: gather(own)}


def split_states(saved: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the states that `join_states` joined, by rank.

    Raises:
        ValueError: if their number differs from the current number of processes.
    """
    states = saved.get(_OF_RANKS, [saved])
    if len(states) != size():
        raise ValueError(f"it holds the states of {len(states)} processes, but this run has {size()}")
    return cast(list[dict[str, Any]], states)


def own_state(saved: dict[str, Any]) -> dict[str, Any]:
    """Return the state of this process from those that `join_states` joined.

    Raises:
        ValueError: as `split_states`.
    """
    return split_states(saved)[rank()]


def _all_numbers(own: int) -> list[int]:
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    numbers = torch.zeros(size(), dtype=torch.int64, device=device)
    numbers[rank()] = own
    dist.all_reduce(numbers)
    return [int(number) for number in numbers.tolist()]
