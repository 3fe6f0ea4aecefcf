"""Filters for library messages that do not concern the user."""

from __future__ import annotations

import logging
import warnings

_UNDERSTOOD = (
    # regular expression of the warning, why it can be ignored
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", "Lightning's own code, with this version of PyTorch"),
    ("Experiment logs directory .* exists and is not empty", "it is the run's own folder"),
    ("You're resuming from a checkpoint that ended before the epoch ended", "the datamodule holds the loader's state"),
)


def quieten() -> None:
    """Silence library messages that are known to be irrelevant here; all other messages are shown."""
    # Lightning logs "GPU available: ..", "Tip: .." and "`Trainer.fit` stopped: ..", which this program's own messages
    # replace. TorchRL reports the shape of its storage.
    lightning = ("pytorch.utilities.rank_zero", "fabric.utilities.rank_zero", "fabric.utilities.distributed")
    for name in (*(f"lightning.{module}" for module in lightning), "torchrl"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message, _ in _UNDERSTOOD:
        warnings.filterwarnings("ignore", message=message)
