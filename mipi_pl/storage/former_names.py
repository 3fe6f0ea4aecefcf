"""Present names of the classes that configs of older versions name, and of the keys that moved with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MOVED = {
    "mipi_pl.loggers.ResumableCSVLogger": "mipi_pl.logging.csv.ResumableCSVLogger",  # 0.2.0
    "mipi_pl.wandb_logger.ResumableWandbLogger": "mipi_pl.logging.wandb.ResumableWandbLogger",  # 0.2.0
}
"""Former to present names of single classes, with the version of the move."""

FORMER_PACKAGES = ("models", "callbacks", "datamodules")
"""Packages that were imported by these names and are now packages of `mipi_pl`."""
_PRESENT = tuple(f"mipi_pl.{package}." for package in FORMER_PACKAGES)

_TARGET = "_target_"
_MAPPO, _MIPI_PPO = "mipi_pl.algorithms.mappo.MAPPO", "mipi_pl.algorithms.mipi_ppo.MIPIPPO"
_OF_MIPI_PPO = ("regularizer", "alpha", "priced", "marginal_teams", "marginal_epochs")
"""Keys that MAPPO had in earlier configs and MIPI-PPO alone has now."""
_MOVED_KEYS = {_MAPPO: (_OF_MIPI_PPO, "algorithm=mappo has no {}: choose algorithm=mipi_ppo")}
"""Keys that a class took in earlier versions, and the advice about them."""


def present_name(target: str) -> str:
    """Return the name that a class of an older version has now; other names are returned unchanged."""
    is_former = target.partition(".")[0] in FORMER_PACKAGES
    return f"mipi_pl.{target}" if is_former else MOVED.get(target, target)


def with_present_names(config: Any) -> Any:
    """Return a stored config in which every ``_target_`` has its present name.

    A config may also name classes of a package ``models`` of the user's own. Such a config is newer than the move. It
    is recognized by its names below ``mipi_pl.models``, ``mipi_pl.callbacks`` or ``mipi_pl.datamodules``, which no
    older config has, and is returned as it is.

    Args:
        config: config of a run, as it was read from a file.
    """
    targets = list(_targets(config))  # all of them, so that a config that contains itself is met here
    is_newer = any(target.startswith(_PRESENT) for target in targets)
    config = config if is_newer else _renamed(config)
    if isinstance(config, dict) and isinstance(algorithm := config.get("algorithm"), dict):
        return {**config, "algorithm": _split_mappo(algorithm)}
    return config


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict) and isinstance(node.get(_TARGET), str):
        yield node[_TARGET]
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _targets(child)


def moved_key(target: object, key: str) -> str | None:
    """Return what to choose for a key that a class no longer takes; None for other keys.

    Args:
        target: name of the class, a ``_target_``.
        key: dotted key as the user writes it.
    """
    keys, advice = _MOVED_KEYS.get(str(target), ((), ""))
    return advice.format(key) if key.removeprefix("algorithm.") in keys else None


def _split_mappo(algorithm: dict[str, Any]) -> dict[str, Any]:
    """Return the config of an algorithm in which MIPI-PPO has its own class.

    In earlier configs, MAPPO is the class of both, and has a regularizer that only MIPI-PPO uses.
    """
    if algorithm.get(_TARGET) != _MAPPO or "regularizer" not in algorithm:
        return algorithm
    if algorithm["regularizer"] == "none" and "marginal" not in algorithm:
        return {key: value for key, value in algorithm.items() if key not in _OF_MIPI_PPO}
    return {**algorithm, _TARGET: _MIPI_PPO}


def _renamed(node: Any) -> Any:
    if isinstance(node, list):
        return [_renamed(value) for value in node]
    if not isinstance(node, dict):
        return node
    renamed = {key: _renamed(value) for key, value in node.items()}
    if isinstance(target := node.get(_TARGET), str):
        renamed[_TARGET] = present_name(target)
    return renamed
