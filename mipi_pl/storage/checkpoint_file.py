"""Reading of a checkpoint file: weights, and the config and provenance of the run that wrote it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from mipi_pl.storage import index, sealed, shipped, weights
from mipi_pl.storage.files import DamagedError, is_file
from mipi_pl.storage.former_names import with_present_names
from mipi_pl.storage.sealed import RECORD as RECORD
from mipi_pl.utils.errors import UserError, did_you_mean


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a checkpoint, or a policy that was exported to safetensors.

    Args:
        path: file to read.

    Returns:
        The content of the checkpoint, and the config of the run that wrote it.

    Raises:
        UserError: if the file is missing or damaged, or was not written by this program.
    """
    if is_file(last := path / "checkpoints" / "last.ckpt"):
        raise UserError(f"expected a checkpoint file, got the run folder {path}; name its checkpoint: {last}")
    if not is_file(path):
        hint = did_you_mean(str(path), shipped.names())
        raise UserError(
            f"no checkpoint at {path}; {hint}a run writes checkpoints/last.ckpt to its folder in outputs/; "
            f"policies that come with the program: {', '.join(shipped.names())}"
        )
    content = _content(path)
    record = _record(content)
    if record is None:
        raise UserError(f"{path} was not written by `mipi train`: it has no config and provenance of a run")
    try:
        index.require_in_place(path, record["updates"])
    except DamagedError as error:
        raise UserError(str(error)) from error
    record["config"] = with_present_names(record["config"])
    return content, record["config"]


def with_texts(node: Any, change: Callable[[str], str]) -> Any:
    """Return a config in which every text value, at any depth, is replaced by `change` of it."""
    if isinstance(node, dict):
        return {key: with_texts(value, change) for key, value in node.items()}
    if isinstance(node, list):
        return [with_texts(value, change) for value in node]
    return change(node) if isinstance(node, str) else node


def _content(path: Path) -> Any:
    if path.suffix == weights.SUFFIX:
        state, about = weights.read(path)
        return {"state_dict": state, RECORD: about}
    try:
        return sealed.load(path)
    except DamagedError as error:
        raise UserError(str(error)) from error


def _record(content: Any) -> dict[str, Any] | None:
    """Return config and provenance in the content of a checkpoint; None if it does not have the expected structure."""
    if not isinstance(content, dict) or not isinstance(content.get(RECORD), dict):
        return None
    record, state = content[RECORD], content.get("state_dict")
    config = record.get("config")
    complete = (
        {"frames", "updates", "commit"} <= set(record)
        and all(isinstance(record[key], int) for key in ("frames", "updates"))
        and isinstance(config, dict)
        and all(isinstance(config.get(node), dict) for node in ("run", "env", "algorithm", "held_out"))
        and isinstance(state, dict)
        and all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items())
    )
    return record if complete else None


def restore(algorithm: torch.nn.Module, content: Mapping[str, Any], path: Path) -> None:
    """Load the weights of a checkpoint into an algorithm.

    Target networks that an exported policy does not have become copies of its networks.

    Args:
        algorithm: receives the weights.
        content: content of the checkpoint, see `read_checkpoint`.
        path: file of the checkpoint, for the message.

    Raises:
        UserError: if the weights do not fit the networks.
    """
    try:
        algorithm.load_state_dict(weights.with_copies(content["state_dict"], algorithm.state_dict()))
    except RuntimeError as error:
        mismatch = str(error).splitlines()[1:2]
        raise UserError(
            f"the weights in {path} do not fit the networks of this version ({' '.join(mismatch).strip()}); "
            f"the file was written at commit {content[RECORD].get('commit')}"
        ) from error
