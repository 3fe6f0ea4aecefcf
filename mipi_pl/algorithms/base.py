"""Base class of the algorithms: optimizers, the update counter, target networks and actors."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar, cast

import torch
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from tensordict import TensorDictBase
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from mipi_pl import distributed
from mipi_pl.actor import Actor
from mipi_pl.datamodule import datamodule_of
from mipi_pl.models.agent import Agent
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.checks import require
from mipi_pl.utils.compat import without_step_counting
from mipi_pl.utils.errors import DivergedError

Network = TypeVar("Network", bound=nn.Module)
OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
Metrics = dict[str, Tensor]


def require_options(low: float, high: float = math.inf, *, above: bool = False, **options: float) -> None:
    """Apply `mipi_pl.utils.checks.require` to several keys of ``algorithm``, passed as keyword arguments.

    Raises:
        ValueError: for the first option that is out of range.

    Examples:
        >>> require_options(0, 1, gamma=0.99, td_lambda=-1.0)
        Traceback (most recent call last):
        ValueError: algorithm.td_lambda must be at least 0 and at most 1, got -1.0
    """
    for name, value in options.items():
        require(f"algorithm.{name}", value, low, high, above=above)


_FORMER_METHODS = {
    "_td_targets": "td_targets",
    "_loss": "critic_loss",
    "_bootstrapped": "bootstrapped",
    "_target_utilities": "target_utilities",
    "_augmented_reward": "augmented_reward",
    "_learn_from": "learn_from",
}
"""Methods that a subclass may override, by their former names."""


class EntityAlgorithm(LightningModule, ABC):
    """Algorithm with manual optimization: one optimizer per part, and one counted update per training step.

    Args:
        spec: sizes of the environment.
        gradient_clip: largest gradient norm of an optimizer step.

    Raises:
        ValueError: if `gradient_clip` is not positive.
    """

    agent: Agent
    optimizer_names: tuple[str, ...]
    """Names of the optimizers, in the order of `configure_optimizers`; used in `descend` and its errors."""
    on_policy: bool | None = None
    """True if the algorithm learns only from rollouts of the present policy, False from a replay, None from either."""
    fits_policy_to_utilities = False
    """Whether the algorithm fits a policy to utilities, so that an actor can use either."""
    trains_utilities = False
    """Whether the utilities of the agent are trained."""
    without_partitions: tuple[str, ...] = ()
    """Overrides that together make an algorithm of this class need no imaginary partitions; for messages."""
    _updates: Tensor

    def __init__(self, spec: EntitySpec, gradient_clip: float) -> None:
        super().__init__()
        require_options(0, above=True, gradient_clip=gradient_clip)
        self.automatic_optimization = False
        self.spec = spec
        self.gradient_clip = gradient_clip
        self.register_buffer("_updates", torch.zeros((), dtype=torch.int64))
        self._targets: list[tuple[nn.Module, nn.Module]] = []

    def __init_subclass__(cls) -> None:
        """Refuse a method with a former name, which would never be called.

        Raises:
            TypeError: if the class, or one that it inherits from, has such a method and not the present one.
        """
        super().__init_subclass__()
        for former, present in _FORMER_METHODS.items():
            for owner in cls.__mro__ if hasattr(cls, present) else ():
                if former in vars(owner) and present not in vars(owner):
                    raise TypeError(f"{owner.__name__}.{former} is never called: its name is now {present}")

    @abstractmethod
    def configure_optimizers(self) -> list[Optimizer]:
        """Return the optimizers in the order of `optimizer_names`."""

    @property
    @abstractmethod
    def partitions_per_batch(self) -> int:
        """G, number of imaginary partitions that a batch needs."""

    @property
    def trained_marginal(self) -> nn.Module | None:
        """The marginal policy, with the interface of `mipi_pl.models.marginal.MarginalPolicy`; None without one."""
        return None

    def steps_per_update(self, num_envs: int) -> int:
        """Return the number of optimizer steps of an update, about; 1 unless an algorithm takes several.

        Args:
            num_envs: environments that a rollout has sequences of.
        """
        return 1

    @abstractmethod
    def training_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """Learn from a batch by calls of `descend`, then `report` the metrics."""

    @property
    def updates(self) -> int:
        """Number of training steps done so far."""
        return int(self._updates)

    def actor(self, greedy: bool, seed: int = 0, by_utilities: bool = False) -> Actor:
        """Return an actor for a batch of environments; it shares the parameters of this module.

        Args:
            greedy: take the most probable action instead of sampling.
            seed: seed of the sampled actions.
            by_utilities: take the action of highest utility; for an algorithm with `fits_policy_to_utilities`.
        """
        return Actor(self.agent, greedy, seed, by_utilities)

    @property
    def _network_sizes(self) -> dict[str, int]:
        """Arguments of all network factories: F and K."""
        return {"n_features": self.spec.n_features, "n_kinds": self.spec.n_kinds}

    # ------------------------------------------------------------------ target networks

    @property
    def awaits_target_updates(self) -> bool:
        """Whether a callback must call `update_targets`; False in an algorithm that calls it itself."""
        return bool(self._targets)

    def with_target(self, network: Network) -> Network:
        """Return a frozen copy of `network` that `update_targets` refreshes."""
        target = copy.deepcopy(network).requires_grad_(False)
        self._targets.append((network, target))
        return target

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that learn, and normalisations, by name; without copies for targets."""
        copies = [target for _, target in self._targets]
        return {name: child for name, child in self.named_children() if not any(child is copy for copy in copies)}

    @torch.no_grad()
    def update_targets(self) -> None:
        """Copy the networks to their targets (hard update)."""
        for network, target in self._targets:
            target.load_state_dict(network.state_dict())

    # ------------------------------------------------------------------ optimizers

    def report(self, metrics: Metrics) -> None:
        """Count the update, and log its metrics every `log_every_n_steps` updates, averaged over the processes.

        Logging every update would cost as much as a small network; 0 logs none, as in Lightning. The metrics are logged
        under the number of this update, as the rows of callbacks are; Lightning's own count is one lower.
        """
        self._updates += 1
        trainer = self._trainer  # None if a step runs without a trainer, as in benchmarks
        every = 1 if trainer is None else trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and self.updates % every == 0:
            self.log_dict({f"train/{name}": value for name, value in distributed.average(metrics).items()})
            if trainer is not None:
                counts = {"step": self.updates, "frames": datamodule_of(trainer).frames}
                self.log_dict({name: torch.tensor(count, dtype=torch.float64) for name, count in counts.items()})

    def _optimizers(self) -> list[LightningOptimizer]:
        optimizers = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    def descend(self, name: str, loss: Tensor) -> Tensor:
        """Take one optimizer step on `loss` with clipped gradients; returns the norm before clipping.

        With several processes, each computes its own loss, and all step with the mean of their gradients.

        Args:
            name: one of `optimizer_names`.
            loss: its gradient in the parameters of this optimizer is followed.

        Raises:
            DivergedError: if the norm is not finite; the optimizer does not step.
        """
        optimizer = self._optimizers()[self.optimizer_names.index(name)]
        optimizer.zero_grad()
        with self._own_gradients():
            self.manual_backward(loss)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        distributed.average_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.gradient_clip)
        if not norm.isfinite():
            raise DivergedError(
                f"the {name} diverged in update {self.updates + 1}: its loss is "
                f"{float(loss.detach()):.4g}, the norm of its gradient {float(norm):.4g}"
            )
        optimizer.step()
        without_step_counting(self._optimizers())  # global steps are updates: only the first optimizer step counts
        return norm

    def _own_gradients(self) -> AbstractContextManager[None]:
        """Disable gradient averaging in PyTorch's wrapper.

        It would average the gradients of all parameters after every loss, although each loss updates only some of them.
        """
        wrapped = None if self._trainer is None else self._trainer.strategy.model
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()


def algorithm_of(module: LightningModule) -> EntityAlgorithm:
    """Return the module of a run as the algorithm that it is, for callbacks, which Lightning passes its base class."""
    return cast(EntityAlgorithm, module)
