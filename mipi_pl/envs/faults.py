"""Faults of a world: exceptions, and frames that break the contract of `EntityEnv`, named by environment and step."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from numbers import Number
from pathlib import Path
from traceback import extract_tb
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.envs.frame import Frame
from mipi_pl.utils.errors import DivergedError, FailedError, UnavailableActionError, UserError, WorldFaultError

NOT_OF_THE_WORLD = (UserError, FailedError, DivergedError, UnavailableActionError)
"""Exceptions that a world raises about its arguments, its installation or the policy."""
ATTEMPTS = 3
"""Number of consecutive attempts to begin an episode."""
_MESSAGES = 5
"""Number of faults of an environment that are printed."""
_NO_MORE = "further faults of this world are not printed; episodes that end with one are counted"


def reason_of(error: Exception, method: str) -> str:
    """Describe an exception that a world's method has raised, with the line of code that raised it."""
    if isinstance(error, WorldFaultError):
        return str(error)
    at = extract_tb(error.__traceback__)[-1]
    message = " ".join(str(error).split()) or "no message"
    return f"{method} raised {type(error).__name__}: {message} ({Path(at.filename).name}, line {at.lineno})"


def described(faults: Mapping[int, str], steps: np.ndarray | None = None) -> str:
    """Return one line about the first fault.

    Args:
        faults: reason by environment.
        steps: int64 [B], steps played in each environment; None if they were not counted.
    """
    b, reason = next(iter(faults.items()))
    when = ""
    if steps is not None:
        when = f", step {steps[b]}" if steps[b] else ", the first observation"
    others = f" (and {len(faults) - 1} more environments at the same time)" if len(faults) > 1 else ""
    return f"the world failed in environment {b}{when}: {reason}{others}"


class Messages:
    """Prints the first faults of an environment, each of which costs an episode."""

    def __init__(self) -> None:
        self._printed = 0

    def say(self, fault: str) -> None:
        """Print a fault, unless enough have been printed."""
        self._printed += 1
        if self._printed <= _MESSAGES:
            print(f"mipi: {fault}; the episode is thrown away", file=sys.stderr)
        if self._printed == _MESSAGES:
            print(f"mipi: {_NO_MORE}", file=sys.stderr)


# ---------------------------------------------------------------------- frames


def fits(written: Any, expected: Tensor) -> bool:
    """Return whether a field of a frame still has its shape and type."""
    return isinstance(written, Tensor) and (written.shape, written.dtype) == (expected.shape, expected.dtype)


def refuse_misfits(frame: Frame, expected: Frame) -> None:
    """Check that the fields of a frame still have their shapes and types.

    Raises:
        WorldFaultError: if the world has replaced a tensor by one of another shape or type.
    """
    for name, tensor in vars(expected).items():
        written = getattr(frame, name)
        if not fits(written, tensor):
            raise WorldFaultError(
                f"frame.{name} must be {tensor.dtype} of shape {tuple(tensor.shape)}, got {_kind_of(written)}: write "
                "into the given tensor instead of replacing it"
            )


def faults_of(frame: Frame, expected: Frame, n_compositions: int, begun: Tensor | None) -> dict[int, str]:
    """Return the reason for each environment whose part of a frame breaks the contract.

    Args:
        frame: frame that the world has written.
        expected: frame with the right shapes and types.
        n_compositions: number of compositions.
        begun: bool [B], environments whose episode begins with this frame; None after a step, which has a reward.

    Raises:
        WorldFaultError: if the world has replaced a tensor by one of another shape or type.
    """
    refuse_misfits(frame, expected)
    acting = keys.acting(frame.visible)
    checks = {
        "entities": frame.entities.isfinite().flatten(1),
        "action_mask": frame.action_mask.any(dim=-1),
        "present": (frame.present.unsqueeze(1) | ~frame.visible).flatten(1),
        "composition": ((frame.composition >= 0) & (frame.composition < n_compositions)).unsqueeze(-1),
    }
    if begun is None:
        checks["reward"] = frame.reward.isfinite().unsqueeze(-1)
    else:
        checks["visible"] = (acting.any(dim=-1) | ~begun).unsqueeze(-1)
        checks["ended"] = ~(begun & (frame.terminated | frame.truncated)).unsqueeze(-1)
    if all(bool(passed.all()) for passed in checks.values()):
        return {}
    faults: dict[int, str] = {}
    for name, passed in checks.items():
        for b in (~passed.all(dim=1)).nonzero().flatten().tolist():
            if begun is None or begun[b]:
                faults.setdefault(b, _reason(name, b, int((~passed[b]).nonzero()[0]), frame))
    return dict(sorted(faults.items()))


def _reason(name: str, b: int, place: int, frame: Frame) -> str:
    if name == "entities":
        entity, feature = divmod(place, frame.entities.shape[-1])
        return f"entities[{entity}, {feature}] must be finite, got {float(frame.entities[b, entity, feature])}"
    if name == "action_mask":
        return f"agent {place} has no available action; action_mask must have at least one True per agent"
    if name == "present":
        agent, slot = divmod(place, frame.present.shape[-1])
        return (
            f"agent {agent} sees slot {slot}, which is empty; present must be True for every entity that is there, and "
            "visible False for an empty slot"
        )
    if name == "composition":
        return f"composition must be an index of the world's compositions, got {int(frame.composition[b])}"
    if name == "reward":
        return f"reward must be finite in float32, got {float(frame.reward[b])}"
    if name == "ended":
        return "the episode is over in its first observation; an episode must have at least one step"
    return (
        "no agent sees itself, so none would ever act or learn; visible[i, i] must be True for each agent i that acts"
    )


# ---------------------------------------------------------------------- values that a game returns


def array_of(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return a game's array of numbers.

    Raises:
        WorldFaultError: if it has another shape or does not hold numbers.
    """
    array = _numbers(name, "numbers", value)
    if array.shape != shape:
        raise WorldFaultError(f"a game must return {name} of shape {shape}, got {array.shape}")
    return array


def mask_of(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return a game's mask as bool.

    Raises:
        WorldFaultError: if it has another shape, does not hold numbers, or holds NaN.
    """
    array = array_of(name, value, shape)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise WorldFaultError(f"a game must return {name} as True and False, got NaN")
    return array.astype(bool)


def number_of(name: str, value: Any) -> float:
    """Return a game's number of any numeric type, also an array of one element.

    Raises:
        WorldFaultError: if it is not one number.
    """
    array = _numbers(name, "one number", value)
    if array.size != 1:
        raise WorldFaultError(f"a game must return {name} as one number, got {_kind_of(value)}")
    return float(array.reshape(()))


def flag_of(name: str, value: Any) -> bool:
    """Return a game's flag of any numeric type, also an array of one element.

    Raises:
        WorldFaultError: if it is not one number, or NaN.
    """
    number = number_of(name, value)
    if np.isnan(number):
        raise WorldFaultError(f"a game must return {name} as True or False, got NaN")
    return bool(number)


def _numbers(name: str, wanted: str, value: Any) -> np.ndarray:
    """Return numbers of any type, also tensors of any device and exact numbers such as `fractions.Fraction`."""
    try:
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            array = value.to(torch.float32).numpy() if value.dtype is torch.bfloat16 else value.numpy()
        else:
            array = np.asarray(value)
        if array.dtype.kind == "O" and all(isinstance(x, (Number, np.generic, np.ndarray, Tensor)) for x in array.flat):
            array = array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise WorldFaultError(f"a game must return {name} as {wanted}, got {_kind_of(value)} ({reason})") from error
    if array.dtype.kind not in "biuf":
        raise WorldFaultError(f"a game must return {name} as {wanted}, got {_kind_of(value)}")
    return array


def _kind_of(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape is None:
        return f"{type(value).__name__} {value!r}"[:80]
    return f"{getattr(value, 'dtype', type(value).__name__)} of shape {tuple(shape)}"
