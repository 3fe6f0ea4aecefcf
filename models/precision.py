"""Layers that keep single precision when training runs in bfloat16 (``trainer.precision=bf16-mixed``).

The large matrix products may be rounded, because their errors average out over hundreds of terms. Recurrent states,
values, logits and mixing weights may not: bfloat16 has 8 significant bits and resolves a return of 10 to 0.04.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


def full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """Return a context manager that disables autocast on the device of `tensor`."""
    if torch.compiler.is_exporting():  # an exported network has no autocast
        return nullcontext()
    return torch.autocast(tensor.device.type, enabled=False)


def output_linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map rows [*X, in] to [*X, out] in the precision of the weight, even under autocast."""
    with full_precision(rows):
        return nn.functional.linear(rows.to(weight.dtype), weight, bias)


class OutputLinear(nn.Linear):
    """Last linear layer of a network: `output_linear` as a module.

    Examples:
        >>> with torch.autocast("cpu", dtype=torch.bfloat16):
        ...     OutputLinear(3, 2)(torch.zeros(1, 3)).dtype
        torch.float32
    """

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows [*X, in] to [*X, out]."""
        return output_linear(rows, self.weight, self.bias)
