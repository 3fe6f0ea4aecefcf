"""Step sources whose environments run in other processes or Ray actors, for slow environments."""

from __future__ import annotations

import copy
import os
import signal
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event, Thread
from typing import Any

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torchrl.collectors import MultiSyncCollector

from mipi_pl.actor import Actor
from mipi_pl.datamodules.sources import StepSource
from mipi_pl.envs.base import EntityEnv, MakeEnv
from mipi_pl.models import fused
from mipi_pl.utils.checks import LOST_AFTER_S
from mipi_pl.utils.errors import DivergedError, FailedError, UserError, WorkerError, WorldFaultError
from mipi_pl.utils.signals import STOP_SIGNALS

_DIVERGED = 3
"""Exit code of a worker whose policy is no longer finite."""

_BEAT_S = 1.0
"""Seconds between two signs of life of a worker."""


class WorkerPolicy(nn.Module):
    """The policy that is sent to the workers: networks and epsilon as tensors; each worker builds its own `Actor`.

    Args:
        actor: the policy whose networks are copied.
        seeds: seed of the random draws of each worker.
    """

    epsilon: Tensor
    beats: Tensor
    """Signs of life of each worker, counted by a thread of the worker from its first step on."""

    def __init__(self, actor: Actor, seeds: list[int]) -> None:
        super().__init__()
        self.agent = copy.deepcopy(actor.agent).cpu().requires_grad_(False)
        self.register_buffer("epsilon", torch.zeros(()))
        self.register_buffer("beats", torch.zeros(len(seeds), dtype=torch.int64))
        self._hold = actor.hold
        self._seeds, self._fused = seeds, fused.usable(torch.zeros(()))
        self._actor: Callable[[], Actor] | None = None

    def forward(self, td: TensorDictBase) -> TensorDictBase:
        """Act as `Actor` does."""
        if self._actor is None:
            fused.enable(self._fused)
            Thread(target=_count, args=(self.beats.numpy(), WorkerEnv.index), daemon=True).start()
            own_actor = Actor(self.agent, greedy=False, seed=self._seeds[WorkerEnv.index])
            own_actor.hold = self._hold
            self._actor = lambda: own_actor  # in a closure, so that its parameters are not registered twice
        actor = self._actor()
        actor.epsilon = float(self.epsilon)
        try:
            return actor(td)
        except DivergedError:
            os._exit(_DIVERGED)  # an exception would end the worker with a traceback of TorchRL


class WorkerEnv:
    """Factory of a worker's environments, called in the worker.

    Args:
        make_env: factory of the environments.
        num_envs: number of environments of this worker.
        seed: seed of this worker's environments.
        index: number of this worker, from 0.
    """

    index = 0
    """Number of the worker that runs in this process."""

    def __init__(self, make_env: MakeEnv, num_envs: int, seed: int, index: int) -> None:
        self._make_env, self._options = make_env, {"num_envs": num_envs, "seed": seed}
        self._index = index

    def __call__(self) -> EntityEnv:
        """Make the environments and record the worker's number in this process."""
        WorkerEnv.index = self._index
        env = self._make_env(**self._options)
        env.tolerant = True
        for name in ("_reset", "_step"):
            setattr(env, name, _ending_with_a_message(getattr(env, name)))
        return env


def _ending_with_a_message(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make a method end this worker with one line instead of TorchRL's traceback if the world cannot go on."""

    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except (WorldFaultError, FailedError, UserError) as error:
            print(f"mipi: worker {WorkerEnv.index}: {error}", file=sys.stderr, flush=True)
            os._exit(1)

    return call


class _Unregistered:
    """Wrapper that hides a module from TorchRL: its parameters are in shared memory and need no transfer."""

    def __init__(self, module: WorkerPolicy) -> None:
        self._module = module

    def __call__(self, td: TensorDictBase) -> TensorDictBase:
        return self._module(td)


class WorkerSource(StepSource):
    """Environments divided among workers that step them in parallel; the workers start at the first `refresh`.

    Args:
        make_env: factory of the environments.
        num_envs: B, over all workers.
        actor: the policy; the workers act with a copy of it.
        steps: T', steps per environment in each call of `next`.
        workers: number of workers, a divisor of B.
        seed: seed of the environments and of the policy's random draws.
        frames: returns the number of frames collected so far; part of the seed, so that a resumed run plays new
            episodes.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        num_envs: int,
        actor: Actor,
        steps: int,
        workers: int,
        seed: int,
        frames: Callable[[], int],
    ) -> None:
        self._make_env, self._num_envs, self._actor = make_env, num_envs, actor
        self._steps, self._workers, self._seed, self._frames = steps, workers, seed, frames
        self._policy: WorkerPolicy | None = None
        self._collector: Any = None
        self._stream: Iterator[TensorDictBase] | None = None

    def refresh(self) -> None:
        """Copy the learner's parameters, which the workers use from their next step on; start the workers if needed."""
        if self._policy is None:
            seeds = np.random.SeedSequence([self._seed, self._frames()]).generate_state(2 * self._workers).tolist()
            self._policy = WorkerPolicy(self._actor, seeds[self._workers :])
            share = self._num_envs // self._workers
            envs = [WorkerEnv(self._make_env, share, seeds[i], i) for i in range(self._workers)]
            self._collector = self._start(self._policy, envs)
            self._stream = iter(self._collector)
        else:
            self._policy.agent.load_state_dict(self._actor.agent.state_dict())

    @abstractmethod
    def _start(self, policy: WorkerPolicy, envs: list[WorkerEnv]) -> Any:
        """Start the workers and return the collector."""

    def close(self) -> None:
        """End the workers."""
        collector, self._collector, self._stream = self._collector, None, None
        if collector is not None:
            collector.shutdown()


class ProcessSource(WorkerSource):
    """Workers are processes on this machine; they read the parameters from shared memory.

    A worker that gives no sign of life, because it is stopped, is killed after a while, which ends `next`.

    Args:
        source: positional arguments of `WorkerSource`.
        lost_after_s: seconds without a sign of life after which a worker counts as lost.
    """

    def __init__(self, *source: Any, lost_after_s: float = LOST_AFTER_S) -> None:
        super().__init__(*source)
        self._lost_after_s = lost_after_s
        self._silent: list[int] = []
        self._closed = Event()

    def _start(self, policy: WorkerPolicy, envs: list[WorkerEnv]) -> Any:
        policy.share_memory()
        threads = torch.get_num_threads()
        collector = self._make_collector(envs, policy, threads)
        Thread(target=self._watch, args=(policy.beats.numpy(), collector.procs), daemon=True).start()
        return collector

    def _watch(self, beats: np.ndarray, processes: list[Any]) -> None:
        """Kill workers without a sign of life; counts beats, so that a run that is stopped as a whole goes on."""
        seen, missed = beats.copy(), np.zeros_like(beats)
        while not self._closed.wait(_BEAT_S):
            missed = np.where((beats > 0) & (beats == seen), missed + 1, 0)
            seen = beats.copy()
            for number in np.flatnonzero(missed == round(self._lost_after_s / _BEAT_S)).tolist():
                with suppress(ValueError, AttributeError):  # TorchRL has closed it meanwhile
                    if processes[number].exitcode is None:
                        self._silent.append(number)
                        processes[number].kill()

    def _make_collector(self, envs: list[WorkerEnv], policy: WorkerPolicy, threads: int) -> Any:
        try:
            return MultiSyncCollector(
                envs,
                _Unregistered(policy),
                frames_per_batch=self._num_envs * self._steps,
                total_frames=-1,
                cat_results=0,
                use_buffers=True,
                trust_policy=True,
                num_threads=threads,
                init_fn=leave_signals_to_the_first_process,
            )
        except (RuntimeError, EOFError, OSError) as error:
            raise WorkerError(f"the worker processes did not start: {error}") from error

    def next(self, epsilon: float) -> TensorDictBase:
        """See `StepSource`."""
        assert self._policy is not None
        assert self._stream is not None
        self._policy.epsilon.fill_(epsilon)
        try:
            return next(self._stream)
        except (RuntimeError, ValueError, EOFError, OSError) as error:  # TorchRL's clean-up can raise a ValueError
            if _DIVERGED in self._exit_codes().values():
                raise DivergedError("the policy diverged: its probabilities or utilities are not finite") from error
            raise WorkerError(f"a worker process died ({self._deaths() or error})") from error

    def _deaths(self) -> str:
        """Describe the workers that died; the others are alive, or TorchRL has ended or closed them."""
        if self._silent:
            return f"worker {self._silent[0]} had not answered for {self._lost_after_s:g} s and was killed"
        deaths = [f"worker {number}: exit code {code}" for number, code in self._exit_codes().items()]
        hint = "; with exit code 1, the worker's own error message is above" if deaths else ""
        return ", ".join(deaths) + hint

    def _exit_codes(self) -> dict[int, int]:
        """Exit codes of the workers that have died, by number; 0 is left out: TorchRL ended it after another death."""
        codes = {}
        for number, process in enumerate(self._collector.procs):
            with suppress(ValueError):  # the process object has been closed
                if process.exitcode:
                    codes[number] = process.exitcode
        return codes

    def close(self) -> None:
        """End the workers and keep PyTorch's number of threads, which TorchRL would change."""
        threads = torch.get_num_threads()
        super().close()
        self._closed.set()  # only now, because a worker that is stopped does not end before it is killed
        torch.set_num_threads(threads)


class RaySource(WorkerSource):
    """Workers are Ray actors, in the cluster at RAY_ADDRESS or in one that is started on this machine."""

    def _start(self, policy: WorkerPolicy, envs: list[WorkerEnv]) -> Any:
        from torchrl.collectors.distributed import RayCollector

        try:
            return RayCollector(
                envs,
                policy,
                frames_per_batch=self._num_envs * self._steps,
                total_frames=sys.maxsize,
                sync=True,
                trust_policy=True,
                remote_configs={"num_cpus": 1, "num_gpus": 0},
                ray_init_config={
                    "address": os.environ.get("RAY_ADDRESS"),
                    "include_dashboard": False,
                    "log_to_driver": False,
                    "logging_level": "error",
                },
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise WorkerError(f"Ray or its workers did not start: {error}") from error

    def next(self, epsilon: float) -> TensorDictBase:
        """See `StepSource`."""
        from ray.exceptions import RayError

        assert self._policy is not None
        assert self._stream is not None
        self._policy.epsilon.fill_(epsilon)
        try:
            self._collector.update_policy_weights_()
            return next(self._stream).flatten(0, 1)
        except (RayError, RuntimeError, StopIteration) as error:  # sending parameters raises the RuntimeError
            raise WorkerError(f"a Ray worker failed: {error}") from error


def _count(beats: np.ndarray, index: int) -> None:
    """Give signs of life, in a thread of a worker."""
    while True:
        beats[index] += 1
        time.sleep(_BEAT_S)


def leave_signals_to_the_first_process() -> None:
    """Ignore the signals that a terminal or cluster also sends to workers; the main process handles them."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
