"""The check that every action is available, shared by compiled and uncompiled worlds."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from mipi_pl.spec import EntitySpec
from mipi_pl.utils.errors import UnavailableActionError


def first_unavailable(action: Tensor, action_mask: Tensor, rows: Tensor) -> int:
    """Return the flat index b x A + i of the first unavailable action, or -1, for worlds without a compiled check.

    Args:
        action: int64 [B, A].
        action_mask: bool [B, A, U].
        rows: bool [B], the environments to check.
    """
    n = action_mask.shape[-1]
    available = action_mask.gather(-1, action.clamp(0, n - 1).unsqueeze(-1)).squeeze(-1) & (action >= 0) & (action < n)
    unavailable = (~available & rows.unsqueeze(-1)).flatten().nonzero()
    return int(unavailable[0]) if len(unavailable) else -1


def refuse_unavailable(place: int, action: np.ndarray, action_mask: Tensor, spec: EntitySpec) -> None:
    """Raise an error if an unavailable action was found.

    Args:
        place: flat index b x A + i of the first unavailable action; negative if there is none.
        action: int64 [B, A].
        action_mask: bool [B, A, U].
        spec: sizes and action names of the world.

    Raises:
        UnavailableActionError: if `place` is not negative. The message names the environment, the agent, the action and
            the available actions.
    """
    if place < 0:
        return
    b, i = divmod(int(place), spec.n_agents)

    def label(u: int) -> str:
        return f"{u} ({spec.action_names[u]})" if 0 <= u < len(spec.action_names) else f"{u}"

    allowed = ", ".join(label(u) for u in action_mask[b, i].nonzero().flatten().tolist())
    raise UnavailableActionError(
        f"environment {b}, agent {i}: action {label(int(action[b, i]))} is not available; available are {allowed}. "
        "Choose an action that is True in agents/action_mask"
    )
