"""Warm start: a run that begins with the weights of another one (``algorithm.init_from``).

Only weights are taken over: optimizers, counters, schedules, replay and random numbers begin anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from mipi_pl import distributed
from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.run.build import environment_factory, one_environment
from mipi_pl.run.kinds import INIT_FROM
from mipi_pl.run.schema import Config
from mipi_pl.storage import run_folder, shipped, weights
from mipi_pl.storage.checkpoint_file import read_checkpoint
from mipi_pl.utils.errors import UserError

_KEY = f"algorithm.{INIT_FROM}"
_SIMULATED = ("mipi_pl.envs.battle.", "mipi_pl.envs.resource.")
"""Modules of worlds that can be made within milliseconds."""
_SUFFIX = ".ckpt"
"""Suffix of the copy of a file without one."""
_CRITIC, _UNITS = "critic", "return_scale"
"""Parts that are taken over together only: the critic's values are in units of the normalisation."""


def settle(composed: DictConfig) -> None:
    """Replace a relative path in ``algorithm.init_from`` by the absolute one, which the config of the run keeps."""
    source = OmegaConf.select(composed, _KEY)
    source = source if source is None else os.path.expanduser(source)
    if source is not None and os.path.isfile(source):  # unlike Path.is_file, never fails
        OmegaConf.update(composed, _KEY, str(Path(source).resolve()))


def apply(algorithm: EntityAlgorithm, config: Config, folder: Path, resumed: bool) -> str | None:
    """Load the weights that ``algorithm.init_from`` names, and copy their file to the run folder.

    Every process of a run must call this.

    Args:
        algorithm: algorithm of the run.
        config: config of the run.
        folder: run folder.
        resumed: whether the run is resumed; its copy of the file is read then.

    Returns:
        A message about what was loaded; None if the run begins with random weights.

    Raises:
        UserError: if the file cannot be used, its policy does not fit, or the copy cannot be written.
    """
    source = config["algorithm"].get(INIT_FROM)
    if source is None:
        return None
    path, note = distributed.on_all_ranks(lambda: _loaded(algorithm, source, folder if resumed else None))
    if not resumed:
        distributed.on_first_rank(lambda: _copy(path, folder / f"{run_folder.INITIAL}{path.suffix or _SUFFIX}"))
    return note


def _loaded(algorithm: EntityAlgorithm, source: str, folder: Path | None) -> tuple[Path, str]:
    """Load the weights from `source`, or from its copy in `folder`, and return the file and a message."""
    try:
        path = shipped.located(Path(source)) if folder is None else _copy_in(folder, source)
        content, config = read_checkpoint(path)
        return path, load(algorithm, content["state_dict"], source) + _renamed(algorithm, config)
    except UserError as error:
        raise UserError(f"{_KEY}: {error}") from error
    except OSError as error:  # such as a name that is too long
        raise UserError(f"{_KEY}: cannot read {source} ({error.strerror or error})") from error


def _renamed(algorithm: EntityAlgorithm, config: Mapping[str, Any]) -> str:
    """Return a warning if features or actions have other names in the world of the other run; empty if they do not.

    It is a warning, because fine-tuning with other unit types can be meant. Only a simulated world of this program is
    made for the comparison, so that no code that a file names is executed.
    """
    node = config["env"]
    if not str(node.get("_target_")).startswith(_SIMULATED) or any(weights.foreign(node)):
        return ""
    try:
        with one_environment(environment_factory(node)) as env:
            there = env.entity_spec
    except Exception:  # a world of an earlier version, for example; the shapes of the weights are compared in any case
        return ""
    try:
        there.refuse_other_names(algorithm.spec)
    except ValueError as error:
        return f"; warning: {error}"
    return ""


def _copy_in(folder: Path, source: str) -> Path:
    # Earlier versions left out the suffix where the original had none.
    copies = [*sorted(folder.glob(f"{run_folder.INITIAL}.*")), *folder.glob(run_folder.INITIAL)]
    if not copies:
        raise UserError(
            f"{run_folder.shown(folder)} has no file {run_folder.INITIAL}.*, its copy of {source}, which the run began "
            "with"
        )
    return copies[0]


def _copy(path: Path, target: Path) -> None:
    try:
        shutil.copyfile(path, target)
    except OSError as error:
        raise UserError(f"cannot write to {target.parent} ({error.strerror or error})") from error


def load(algorithm: EntityAlgorithm, state: Mapping[str, Tensor], source: str) -> str:
    """Load all weights of another run that fit.

    The policy must fit: trunk and heads of the agent must have the same names and shapes, except that a head that the
    other run does not have, or did not train, begins anew. So does any other network that does not fit.

    Args:
        algorithm: receives the weights.
        state: weights of the other run by name.
        source: file or name of the other run, for messages.

    Returns:
        A message about what was loaded and what begins anew.

    Raises:
        UserError: if the policy does not fit.
    """
    taken: list[str] = []
    fresh: list[str] = []
    parts = dict(_parts(algorithm))
    there = {name: _of_part(name, state) for name in parts}
    problems = {name: _difference(part.state_dict(), there[name]) for name, part in parts.items()}
    same_units = (_UNITS in parts) == bool(_of_part(_UNITS, state)) and problems.get(_UNITS) is None
    for name, part in parts.items():
        problem = problems[name]
        needed = name in ("agent", "agent.trunk") or (name.startswith("agent.") and there[name])
        if problem is not None and needed:
            raise UserError(
                f"the policy in {source} does not fit: {name}{problem}; choose env, network and algorithm as in its run"
            )
        fits = problem is None
        if name in (_CRITIC, _UNITS):
            fits = same_units and problems.get(_CRITIC) is None
        if fits:
            part.load_state_dict(there[name])
        (taken if fits else fresh).append(name)
    algorithm.update_targets()
    new = f"; new: {', '.join(fresh)}" if fresh else ""
    return f"initial weights from {source}: {', '.join(taken)}{new}"


def _parts(algorithm: EntityAlgorithm) -> Iterator[tuple[str, nn.Module]]:
    """Yield trunk and heads of the agent and the other networks; without parts that have no weights or never learn."""
    networks = algorithm.networks
    agent = networks.pop("agent")
    if any(True for _ in agent.parameters(recurse=False)):  # an agent of the user's own
        parts = {"agent": agent} | networks
    else:
        parts = {f"agent.{name}": child for name, child in agent.named_children()} | networks
    for name, part in parts.items():
        learns = any(parameter.requires_grad for parameter in part.parameters()) or any(True for _ in part.buffers())
        if part.state_dict() and learns:
            yield name, part


def _of_part(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of one part, by their names within it; empty for utilities that were never trained."""
    if name == "agent.utilities" and any(key.startswith("critic.") for key in state):
        return {}  # MAPPO's critic is a network of its own, and its agent's utilities are never trained
    return {key.removeprefix(f"{name}."): tensor for key, tensor in state.items() if key.startswith(f"{name}.")}


def _difference(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str | None:
    """Return what is different in the weights of two networks, first of all shapes; None if nothing is."""
    for key, tensor in mine.items():
        if key in theirs and theirs[key].shape != tensor.shape:
            return f".{key} has the shape {list(theirs[key].shape)} there and {list(tensor.shape)} here"
    if missing := [key for key in mine if key not in theirs]:
        return f".{missing[0]} is not there"
    if more := [key for key in theirs if key not in mine]:
        return f".{more[0]} is only there"
    return None
