"""Present names of the classes that configs of older versions name."""

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
    is_newer = any(target.startswith(_PRESENT) for target in _targets(config))
    return config if is_newer else _renamed(config)


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict) and isinstance(node.get(_TARGET), str):
        yield node[_TARGET]
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _targets(child)


def _renamed(node: Any) -> Any:
    if isinstance(node, list):
        return [_renamed(value) for value in node]
    if not isinstance(node, dict):
        return node
    renamed = {key: _renamed(value) for key, value in node.items()}
    if isinstance(target := node.get(_TARGET), str):
        renamed[_TARGET] = present_name(target)
    return renamed
