"""Record arrays for the state of compiled worlds, and array views of the tensors that they write.

Records keep kernels readable (``agents[i].speed``) and their argument lists short. With one array per quantity, a call
passed about a hundred words; the battle was ten times slower and took a minute to compile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from mipi_pl.envs.frame import Frame

Records: TypeAlias = Any
"""Array of records. Static typing cannot express attribute access to its fields."""
Record: TypeAlias = Any
"""Reference to one record of an array."""


def record_type(fields: str) -> np.dtype[Any]:
    """Return a record dtype; each field has 8 bytes.

    Args:
        fields: field names separated by spaces: ``x`` is a float64, ``n:i`` an int64, ``n:u`` a uint64.
    """
    types = {"": np.float64, "i": np.int64, "u": np.uint64}
    names = [field.partition(":") for field in fields.split()]
    return np.dtype((np.record, [(name, types[kind]) for name, _, kind in names]))


def to_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Copy arrays into byte tensors [B, bytes], for `EntityEnv.memory`."""
    import torch

    return {name: torch.from_numpy(_bytes_of(array).copy()) for name, array in arrays.items()}


def from_tensors(arrays: dict[str, np.ndarray], memory: dict[str, Tensor]) -> None:
    """Write the byte tensors of `to_tensors` back into the arrays."""
    for name, array in arrays.items():
        _bytes_of(array)[...] = memory[name].numpy()


def _bytes_of(records: np.ndarray) -> np.ndarray:
    return records.view(np.dtype(np.uint8)).reshape(records.shape[0], -1)


class Output(NamedTuple):
    """Numpy views of the tensors of a `mipi_pl.envs.base.Frame`, for kernels to write into."""

    entities: np.ndarray
    present: np.ndarray
    visible: np.ndarray
    action_mask: np.ndarray
    composition: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    won: np.ndarray


def output_of(frame: Frame) -> Output:
    """Return numpy views of a frame's tensors."""
    return Output(**{name: getattr(frame, name).numpy() for name in Output._fields})
