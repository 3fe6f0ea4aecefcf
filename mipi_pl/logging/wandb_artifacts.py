"""Policies of a run as versions of one W&B artifact: the checkpoint, and its policy as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import wandb

from mipi_pl.storage import weights
from mipi_pl.storage.checkpoint_file import RECORD, read_checkpoint
from mipi_pl.utils.errors import UserError

ALIASES = {"best-heldout.ckpt": "best-heldout", "best.ckpt": "best-training", "last.ckpt": "last"}
"""Checkpoint files and their aliases in W&B; the last one in this order is also W&B's ``latest`` in the end."""
AT_ONCE = "best-heldout.ckpt"
"""The checkpoint file that is stored each time it is written; the others are stored at the end."""


def policy_artifact(
    path: Path, run_id: str, scores: Mapping[str, float], policy: Literal["mutable", "immutable"]
) -> wandb.Artifact:
    """Return an artifact with ``policy.ckpt`` and, except for classes of the user's own, ``policy.safetensors``.

    Args:
        path: the checkpoint.
        run_id: id of the run in W&B.
        scores: scores of the policy by name, for the metadata.
        policy: whether W&B copies the checkpoint before sending it (``mutable``), because it may change.
    """
    content, _ = read_checkpoint(path)
    record = content[RECORD]
    about = {"file": path.name, "frames": record["frames"], "updates": record["updates"], **scores}
    artifact = wandb.Artifact(f"policy-{run_id}", type="model", metadata=about)
    artifact.add_file(str(path), name="policy.ckpt", policy=policy)
    with TemporaryDirectory() as folder, suppress(UserError):  # the format stores no classes of the user's own
        exported = Path(folder) / f"policy{weights.SUFFIX}"
        weights.write(exported, content["state_dict"], record)
        artifact.add_file(str(exported), name=exported.name, policy="mutable")
    return artifact
