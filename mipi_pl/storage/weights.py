"""A policy as one small safetensors file: its weights, and the config of its run as metadata. No pickle, no code.

`mipi export` converts a checkpoint to such a file; `mipi eval` and `mipi watch` accept it in place of a checkpoint.
Some come with the program, see `mipi_pl.storage.shipped`. The config in a file may only name classes of this program
and PyTorch's optimizers, so reading and playing a file from others runs no other code.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mipi_pl.storage.files import replacing
from mipi_pl.storage.former_names import with_present_names
from mipi_pl.storage.shipped import SUFFIX as SUFFIX
from mipi_pl.utils.errors import UserError

KEPT = ("frames", "updates", "commit")
"""Facts about the run that the file keeps; states of random generators and optimizers stay in the checkpoint."""
PLAYING = ("seed", "fused", "total_frames", "held_out", "run", "env", "algorithm")
"""Config keys that playing needs; folders of the machine that trained the policy mean nothing elsewhere."""

_TARGET = "target_"
"""Prefix of the name of a target network, which is an older copy of the network named by the rest.

The file leaves these copies out: only learning from a replay uses them.
"""

_METADATA = "mipi"
_SHA256 = "mipi_sha256"
"""Keys of the metadata: the config and facts as JSON, and a checksum of these and of the weights."""


def write(path: Path, state: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Write a policy file atomically.

    Args:
        path: file to write.
        state: tensors of weights by name; those of target networks are not written.
        record: config and provenance of the run, from its checkpoint.

    Raises:
        OSError: if the file cannot be written.
        UserError: if the config names classes that are not part of this program.
    """
    config = _playing(record["config"])
    for target in foreign(config):
        raise UserError(
            f"the run uses a class of your own, {target}, which this format cannot store: share the checkpoint instead"
        )
    about = {"config": config, **{key: record[key] for key in KEPT}}
    kept = {name: tensor for name, tensor in state.items() if not _is_copy(name, state)}
    # Clones, because safetensors refuses two names for the same memory.
    tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in kept.items()}
    text = json.dumps(about)
    with replacing(path) as unfinished:
        unfinished.write_bytes(save(tensors, {_METADATA: text, _SHA256: _digest(text, tensors)}))


def _is_copy(name: str, state: Mapping[str, Any]) -> bool:
    return name.startswith(_TARGET) and name.removeprefix(_TARGET) in state


def with_copies(state: Mapping[str, torch.Tensor], names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Return weights with the target networks that `write` left out, as copies of their networks.

    Args:
        state: weights by name. Those of a checkpoint have target networks, and nothing is added.
        names: names of all weights of the algorithm.
    """
    if any(name.startswith(_TARGET) for name in state):
        return dict(state)
    return {**state, **{name: state[name.removeprefix(_TARGET)] for name in names if _is_copy(name, state)}}


def _digest(about: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 checksum of the weights, with their names, types and shapes, and of the text about the run."""
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a policy file.

    Returns:
        Tensors of weights by name; config, frames, updates and commit of the run.

    Raises:
        UserError: if the file is unreadable or damaged, was not written by `write`, or names classes that are not part
            of this program.
    """
    try:
        path.open("rb").close()  # because safetensors calls every file missing that it cannot open
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        about = with_present_names(json.loads(text := metadata.get(_METADATA, "null")))
        # Files from versions before 0.2.0 have no checksum.
        whole = _SHA256 not in metadata or metadata[_SHA256] == _digest(text, state)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file ({error})") from error
    if not whole:
        raise UserError(f"{path} is damaged: its checksum differs from the one it carries")
    if not isinstance(about, dict):
        raise UserError(f"{path} was not written by `mipi export`: it has no config and provenance of a run")
    for target in foreign(about):
        raise UserError(f"{path} names {target}, which is not a class of this program; the file is not used")
    # Also drops keys that `write` omits, such as a folder of modules, from files that others made.
    return state, {**about, "config": _playing(about["config"])} if isinstance(about.get("config"), dict) else about


def _playing(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if key in PLAYING}
    # No paths: a file from somebody else must not say where this program writes.
    without = {
        "run": ("folder", "overrides", "changes", "setting"),
        "env": ("replay_dir",),
        "algorithm": ("init_from",),
    }
    for name, keys in without.items():
        if isinstance(node := kept.get(name), dict):
            kept[name] = {key: value for key, value in node.items() if key not in keys}
    return kept


def foreign(node: Any) -> Iterator[str]:
    """Yield class names in a config that are not known, and all interpolations, because they can name anything."""
    if isinstance(node, dict):
        target = node.get("_target_")
        if target is not None and not _is_known(str(target)):
            yield str(target)
    if isinstance(node, str) and "${" in node:
        yield node
    for child in (*node, *node.values()) if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from foreign(child)


_KNOWN = {
    "mipi_pl.envs": "mipi_pl.envs.base.EntityEnv",
    "mipi_pl.algorithms": "torch.nn.Module",
    "mipi_pl.models": "torch.nn.Module",
    "torch.optim": "torch.optim.Optimizer",
}
"""Packages whose classes a file may name, and the required base class.

The base class is checked because the modules of these packages also contain other names, such as `torch.save`.
"""


def _is_known(target: str) -> bool:
    bases = [base for package, base in _KNOWN.items() if target.startswith(f"{package}.")]
    try:
        # Imported by name: importing the environments takes as long as importing PyTorch and would delay --help.
        named, base = (_imported(name) for name in (target, *bases)) if bases else (None, None)
    except (ImportError, AttributeError, ValueError):
        return False
    return inspect.isclass(named) and inspect.isclass(base) and issubclass(named, base)


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
