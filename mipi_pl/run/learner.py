"""Construction of the algorithm of a run, with checks of its size and its optimizers before any episode is played."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from mipi_pl import distributed
from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.datamodule import DataModule
from mipi_pl.run.build import build
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.errors import UserError, reason_of
from mipi_pl.utils.memory import require_memory

_COPIES = 4
"""Numbers per parameter in training: the parameter, its gradient, and two moments of the optimizer."""
_STEPS = 3
_SLOT_BYTES = 8
"""Memory of one entity slot in one imaginary partition."""


def build_algorithm(node: Mapping[str, Any], spec: EntitySpec) -> EntityAlgorithm:
    """Build the algorithm for an environment.

    Args:
        node: config of the algorithm.
        spec: sizes of the environment.

    Raises:
        UserError: if the algorithm rejects its arguments, or its networks do not fit into the memory of this machine.
    """
    _refuse_large(node, spec)
    algorithm: EntityAlgorithm = build("algorithm", node, spec=spec)
    return algorithm


def check_optimizers(algorithm: EntityAlgorithm) -> None:
    """Build the optimizers and take a few steps with each on a parameter of its own.

    A bad learning rate or decay is found here, before the first evaluation, and not by an update that diverges.

    Raises:
        UserError: if an optimizer rejects its arguments or does not keep the parameter finite, or the algorithm does
            not name each of its optimizers.
    """
    try:
        optimizers = algorithm.configure_optimizers()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"algorithm: {reason_of(error)}") from error
    names = getattr(algorithm, "optimizer_names", None)
    if names is None or len(names) != len(optimizers):
        given = ", ".join(names or ()) or "none"
        raise UserError(
            f"algorithm: {type(algorithm).__name__}.optimizer_names must have a name for each optimizer, in the "
            f"order of configure_optimizers: expected {len(optimizers)}, got {given}"
        )
    for optimizer in optimizers:
        name = type(optimizer).__name__
        if not isinstance(optimizer, Optimizer):
            raise UserError(f"algorithm: an optimizer must be a torch.optim.Optimizer, got {name}")
        taken = inspect.signature(type(optimizer)).parameters
        arguments = {key: value for key, value in optimizer.defaults.items() if key in taken}
        try:
            end = _end_of_steps(type(optimizer), arguments)
        except Exception as error:  # an optimizer checks some of its arguments only when it steps
            raise UserError(f"algorithm: {name} cannot step with {_listed(arguments)}: {reason_of(error)}") from error
        if not math.isfinite(end):
            raise UserError(
                f"algorithm: {name} turns a parameter of 0 into {end} within {_STEPS} steps with a gradient of 0 or 1, "
                f"with {_listed(arguments)}; correct the arguments of the optimizers"
            )


def _end_of_steps(kind: type[Optimizer], arguments: Mapping[str, Any]) -> float:
    """Return the sum of two parameters, of which one has a gradient of 0 and the other of 1, after a few steps."""
    parameters = nn.Parameter(torch.zeros(2))
    optimizer = kind([parameters], **arguments)
    for _ in range(_STEPS):
        parameters.grad = torch.tensor([0.0, 1.0])
        optimizer.step()
    return float(parameters.detach().sum())


def _listed(arguments: Mapping[str, Any]) -> str:
    numbers = {key: value for key, value in arguments.items() if type(value) in (int, float, tuple)}
    return ", ".join(f"{key}={value}" for key, value in numbers.items())


def _refuse_large(node: Mapping[str, Any], spec: EntitySpec) -> None:
    """Build the algorithm without memory, on PyTorch's meta device, and check the size of its parameters.

    Raises:
        UserError: if training it does not fit into the memory of this machine.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            algorithm = build("algorithm", node, spec=spec)
        size = sum(parameter.numel() * parameter.element_size() for parameter in algorithm.parameters())
    except UserError:
        raise
    except Exception:  # a network of the user's own may not support the device
        return
    try:
        advice = "lower the sizes in network and algorithm"
        require_memory("training these networks", _COPIES * size, advice, distributed.size_here())
    except ValueError as error:
        raise UserError(f"algorithm: {error}") from error


def refuse_large_batches(algorithm: EntityAlgorithm, datamodule: DataModule) -> None:
    """Check that the imaginary partitions of a batch fit into the memory of this machine.

    Raises:
        UserError: if they do not.
    """
    count = algorithm.partitions_per_batch
    sequences: int = getattr(datamodule, "batch_size", None) or getattr(datamodule, "num_envs", None) or 1
    size = _SLOT_BYTES * count * sequences * datamodule.env.entity_spec.n_entities
    try:
        require_memory(
            f"{count:,} imaginary partitions of {sequences:,} episodes or sequences",
            size,
            "lower algorithm.iterations, epochs or marginal_epochs, or the batch",
            distributed.size_here(),
        )
    except ValueError as error:
        raise UserError(f"algorithm: {error}") from error
