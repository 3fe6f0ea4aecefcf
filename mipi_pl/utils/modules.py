"""The mode of PyTorch modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and back into its former mode at the end, also after an exception."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)
