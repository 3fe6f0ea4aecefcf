"""One checkpoint file: the weights, and the config and provenance of the run that wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mipi_pl.storage import weights
from mipi_pl.utils.errors import UserError

Config = dict[str, Any]

RECORD = "mipi"
"""Key of a checkpoint under which its config and provenance are kept."""


_MOVED = {
    "mipi_pl.loggers.ResumableCSVLogger": "mipi_pl.logging.csv.ResumableCSVLogger",  # 0.2.0
    "mipi_pl.wandb_logger.ResumableWandbLogger": "mipi_pl.logging.wandb.ResumableWandbLogger",  # 0.2.0
}
"""Former names of classes that configs in older checkpoints have; with the version that moved them."""


def read_checkpoint(path: Path) -> tuple[dict[str, Any], Config]:
    """A checkpoint, or a file of weights alone, and the config of the run that wrote it.

    Raises:
        UserError: if the file is missing, damaged, or not one of this program's.
    """
    if (last := path / "checkpoints" / "last.ckpt").is_file():
        raise UserError(f"{path} is the folder of a run; name its checkpoint: {last}")
    if not path.is_file():
        raise UserError(
            f"no checkpoint at {path}; a run writes checkpoints/last.ckpt in its folder below outputs/; "
            f"policies that come with the program: {', '.join(weights.shipped())}"
        )
    content = _content(path)
    found = content.get(RECORD) if isinstance(content, dict) and "state_dict" in content else None
    if not isinstance(found, dict) or not {"config", "frames", "updates", "commit"} <= set(found):
        raise UserError(f"{path} was not written by `mipi train`: it holds no record of a run")
    found["config"] = _renamed(found["config"])
    return content, found["config"]


def _renamed(node: Any) -> Any:
    """A config with the present names of classes that have moved since it was written."""
    if isinstance(node, dict):
        return {key: _renamed(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(value) for value in node]
    return _MOVED.get(node, node) if isinstance(node, str) else node


def _content(path: Path) -> Any:
    if path.suffix == weights.SUFFIX:
        state, about = weights.read(path)
        return {"state_dict": state, RECORD: about}
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make the unpickler fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged or not a checkpoint ({reason})") from error


def restore(algorithm: torch.nn.Module, content: Mapping[str, Any], path: Path) -> None:
    """Load the weights.

    Raises:
        UserError: if they do not fit.
    """
    try:
        algorithm.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        first = str(error).splitlines()[1:2]
        raise UserError(
            f"the weights in {path} do not fit the networks of this version ({' '.join(first).strip()}); "
            f"it was written at commit {content[RECORD].get('commit')}"
        ) from error
