"""Arrays of records, in which a compiled world keeps its state, and the memory of the tensors that it writes.

Records keep kernels readable (``agents[i].speed``) and their argument lists short. With one array per quantity a call
handed over some hundred words, which made the battle ten times slower and its compilation a minute long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from mipi_pl.spec import EntitySpec

if TYPE_CHECKING:  # the rules of a world are of use where PyTorch is not
    from torch import Tensor

    from mipi_pl.envs.base import Frame

Records: TypeAlias = Any
"""An array of records; attribute access to its fields is beyond static typing."""
Record: TypeAlias = Any
"""One record, by reference."""


def record_type(fields: str) -> np.dtype[Any]:
    """Names of fields, each with i (integer) or u (unsigned) after a colon unless it is a float; all of 8 bytes."""
    types = {"": np.float64, "i": np.int64, "u": np.uint64}
    names = [field.partition(":") for field in fields.split()]
    return np.dtype((np.record, [(name, types[kind]) for name, _, kind in names]))


def to_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Copies of arrays as bytes [B, ...], for `EntityEnv.memory`."""
    import torch

    return {name: torch.from_numpy(_bytes_of(array).copy()) for name, array in arrays.items()}


def from_tensors(arrays: dict[str, np.ndarray], memory: dict[str, Tensor]) -> None:
    """Write back what `to_tensors` gave."""
    for name, array in arrays.items():
        _bytes_of(array)[...] = memory[name].numpy()


def _bytes_of(records: np.ndarray) -> np.ndarray:
    return records.view(np.dtype(np.uint8)).reshape(records.shape[0], -1)


class Output(NamedTuple):
    """Views of the memory of the tensors of a step (see `mipi_pl.envs.base.Frame`)."""

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
    """The same memory as a kernel takes it."""
    return Output(**{name: getattr(frame, name).numpy() for name in Output._fields})


def first_unavailable(action: Tensor, action_mask: Tensor, rows: Tensor) -> int:
    """For worlds that are not compiled: the `place` that `refuse_unavailable` takes.

    Args:
        action: int64 [B, A].
        action_mask: bool [B, A, U].
        rows: bool [B], where actions are looked at.
    """
    n = action_mask.shape[-1]
    fits = action_mask.gather(-1, action.clamp(0, n - 1).unsqueeze(-1)).squeeze(-1) & (action >= 0) & (action < n)
    found = (~fits & rows.unsqueeze(-1)).flatten().nonzero()
    return int(found[0]) if len(found) else -1


def refuse_unavailable(place: int, action: np.ndarray, action_mask: Tensor, spec: EntitySpec) -> None:
    """Say what was wrong with an action.

    Args:
        place: b x A + i of the first action that is not available; negative if there is none.
        action: int64 [B, A].
        action_mask: bool [B, A, U].
        spec: for the names of the actions.

    Raises:
        ValueError: if there is one, naming environment, agent, action and what would have been available.
    """
    if place < 0:
        return
    b, i = divmod(int(place), spec.n_agents)

    def named(u: int) -> str:
        return f"{u} ({spec.action_names[u]})" if 0 <= u < len(spec.action_names) else f"{u}"

    allowed = ", ".join(named(u) for u in action_mask[b, i].nonzero().flatten().tolist())
    raise ValueError(
        f"environment {b}, agent {i}: action {named(int(action[b, i]))} is not available; available are {allowed}. "
        "Choose among the actions that agents/action_mask marks as True"
    )
