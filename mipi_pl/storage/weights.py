"""A policy as one small file: its weights as safetensors and, beside them, the config of its run. No pickle, no code.

`mipi export` makes such a file of a checkpoint; `mipi eval` and `mipi watch` take it as they take a checkpoint. Some
come with the program and are called by their names. A file from others can name no class but those of this program
and PyTorch's optimizers, so reading and playing it runs nothing else.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mipi_pl.storage.files import replacing
from mipi_pl.utils.errors import UserError

SUFFIX = ".safetensors"
KEPT = ("frames", "updates", "commit")
"""What the file says of the run; the states of random generators and of optimizers stay in the checkpoint."""
PLAYING = ("seed", "fused", "total_frames", "held_out", "run", "env", "algorithm")
"""Of its config, what playing takes; folders of the machine that trained it mean nothing elsewhere."""

_FOLDER = "shipped"
_METADATA = "mipi"


def write(path: Path, state: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Write the file, whole or not at all.

    Args:
        path: of the new file.
        state: names of weights to tensors.
        record: what the checkpoint says of its run.

    Raises:
        OSError: if it cannot be written.
        UserError: if the config names classes that are not of this program.
    """
    config = _playing(record["config"])
    for target in _foreign(config):
        raise UserError(
            f"the run has a class of your own, {target}, which no such file can carry: hand on the checkpoint"
        )
    about = {"config": config, **{key: record[key] for key in KEPT}}
    # Copies, as the file takes no two names for the same memory.
    tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
    with replacing(path) as unfinished:
        unfinished.write_bytes(save(tensors, {_METADATA: json.dumps(about)}))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The weights and what the file says of their run.

    Raises:
        UserError: if the file is damaged, was not written by `write`, or names classes that are not of this program.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            about = json.loads((opened.metadata() or {}).get(_METADATA, "null"))
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged or no safetensors file ({error})") from error
    if not isinstance(about, dict):
        raise UserError(f"{path} was not written by `mipi export`: it holds no record of a run")
    for target in _foreign(about):
        raise UserError(f"{path} names {target}, which is not of this program; it is not used")
    # What `write` leaves out, such as a folder of modules, is not taken from others either.
    return state, {**about, "config": _playing(about["config"])} if isinstance(about.get("config"), dict) else about


def shipped() -> list[str]:
    """Names of the policies that come with the program."""
    return sorted(
        entry.name.removesuffix(SUFFIX)
        for entry in files("mipi_pl").joinpath(_FOLDER).iterdir()
        if entry.name.endswith(SUFFIX)
    )


def located(word: Path) -> Path:
    """The file that the user means: one of theirs, or the shipped policy of that name; else the word as it is."""
    if not word.is_file() and str(word) in shipped():
        with as_file(files("mipi_pl").joinpath(_FOLDER, f"{word}{SUFFIX}")) as path:
            return path
    return word


def is_shipped(path: Path) -> bool:
    """Whether it is one that comes with the program, beside which nothing may be written."""
    return path.parent.name == _FOLDER and path.parent.parent == Path(__file__).resolve().parents[1]


def _playing(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if key in PLAYING}
    run = kept.get("run")
    return {**kept, "run": {k: v for k, v in run.items() if k != "folder"}} if isinstance(run, dict) else kept


def _foreign(node: Any) -> Iterator[str]:
    """What a config names that is not of this program, at any depth; interpolations too, which can name anything."""
    if isinstance(node, dict):
        target = node.get("_target_")
        if target is not None and not _is_known(str(target)):
            yield str(target)
    if isinstance(node, str) and "${" in node:
        yield node
    for child in (*node, *node.values()) if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _foreign(child)


_KNOWN = {
    "mipi_pl.envs": "mipi_pl.envs.base.EntityEnv",
    "mipi_pl.algorithms": "torch.nn.Module",
    "models": "torch.nn.Module",
    "torch.optim": "torch.optim.Optimizer",
}
"""Packages whose classes a file may name, and what such a class must derive from: the modules of these packages hold
other names too, `torch.save` among them."""


def _is_known(target: str) -> bool:
    bases = [base for package, base in _KNOWN.items() if target.startswith(f"{package}.")]
    try:
        # By name, since the base of the environments takes as long to import as PyTorch, for which help need not wait.
        named, base = (_imported(name) for name in (target, *bases)) if bases else (None, None)
    except (ImportError, AttributeError, ValueError):
        return False
    return inspect.isclass(named) and inspect.isclass(base) and issubclass(named, base)


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
