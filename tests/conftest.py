"""Shapes are checked, plain twins can be imported, and golden files can be rewritten."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Before anything imports them. Only networks and losses: the hook and numba do not go together.
install_import_hook(["models", "mipi_pl.losses"], "beartype.beartype")

# `tests/` itself must not be on the path: its folder `models` would hide the package.
sys.path.insert(0, str(Path(__file__).parent / "references"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden-update", action="store_true", help="rewrite the golden files")
