"""Messages of libraries that are of no use to the user."""

from __future__ import annotations

import logging
import warnings

_UNDERSTOOD = (
    # message of a library's warning, why it is of no concern
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", "Lightning's own code, with this version of PyTorch"),
    ("Experiment logs directory .* exists and is not empty", "it is the run's own folder"),
    ("You're resuming from a checkpoint that ended before the epoch ended", "the datamodule holds the loader's state"),
)


def quieten() -> None:
    """Silence what the libraries say that is known to be of no use here; anything else still comes through."""
    # "GPU available: ..", "Tip: ..", "`Trainer.fit` stopped: ..": what runs is said in our own words.
    # TorchRL reports the shape of its storage.
    lightning = ("pytorch.utilities.rank_zero", "fabric.utilities.rank_zero", "fabric.utilities.distributed")
    for name in (*(f"lightning.{one}" for one in lightning), "torchrl"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message, why in _UNDERSTOOD:
        del why
        warnings.filterwarnings("ignore", message=message)
