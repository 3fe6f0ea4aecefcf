"""Configs of runs, composed once in a test process, and their leaves."""

from __future__ import annotations

from functools import cache
from typing import Any

from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve


@cache
def composed(*overrides: str) -> dict[str, Any]:
    """The config of a run; read it, do not change it."""
    return resolve(compose(overrides))


def leaves(node: object, path: str = "") -> dict[str, object]:
    """Dotted keys to values."""
    if not isinstance(node, dict):
        return {path: node}
    below = [leaves(child, f"{path}.{name}" if path else name) for name, child in node.items()]
    return {key: value for part in below for key, value in part.items()}
