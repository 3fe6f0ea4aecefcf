"""From a checked config to living objects; a constructor that refuses its values is the user's mistake, not a crash."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra.utils
import torch
from hydra.errors import InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException

from mipi_pl import weights
from mipi_pl.config import Config
from mipi_pl.envs.base import EntityEnv
from mipi_pl.errors import UserError
from mipi_pl.evaluation.generalization import MakeEnv, MakePolicy
from mipi_pl.evaluation.rollout import Policy
from mipi_pl.own_folder import use_modules

RECORD = "mipi"
"""Key of a checkpoint under which its config and provenance are kept."""

_REFUSALS = (ValueError, TypeError, MisconfigurationException, OSError, ImportError, KeyError)


def build(name: str, node: Mapping[str, Any], **more: Any) -> Any:
    """The object of a ``_target_`` node.

    Args:
        name: of the node, for messages.
        node: its config.
        more: arguments that a config cannot hold.

    Raises:
        UserError: if the constructor refuses its arguments.
    """
    try:
        # Hydra would turn a dataclass among `more` into a config, so it makes a factory and we call it.
        factory = hydra.utils.instantiate({**node, "_partial_": True}, _convert_="all")
        return factory if node.get("_partial_") else factory(**more)
    except (InstantiationException, *_REFUSALS) as error:
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        if not isinstance(cause, (InstantiationException, *_REFUSALS)):
            raise
        raise UserError(f"{name}: {cause}") from error


def environment_factory(node: Mapping[str, Any]) -> MakeEnv:
    """The ``make_env`` of an environment config."""
    factory: MakeEnv = build("env", {**node, "_partial_": True})
    return factory


def one_environment(make_env: MakeEnv, **changes: Any) -> EntityEnv:
    """A single environment, to read its sizes.

    Raises:
        UserError: if it refuses its arguments.
    """
    try:
        return make_env(num_envs=1, seed=0, **changes)
    except _REFUSALS as error:
        raise UserError(f"env: {error}") from error


def policies_of(algorithm: Any) -> MakePolicy:
    """Greedy policies of an algorithm."""

    def make(_: EntityEnv, seed: int) -> Policy:
        policy: Policy = algorithm.actor(greedy=True, seed=seed)
        return policy

    return make


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
    use_modules(found["config"].get("config_dir"))
    return content, found["config"]


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
