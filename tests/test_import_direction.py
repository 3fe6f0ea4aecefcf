"""Imports point one way: models <- mipi_pl <- {datamodules, callbacks}, and inside mipi_pl from the spec to the cli."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("models", "mipi_pl", "datamodules", "callbacks", "configs")

# Floors of the house, the lowest first. A module may import its own floor's room and everything below, nothing above
# and no other room on its own floor. The longest prefix counts.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("mipi_pl.compiled", "mipi_pl.files", "mipi_pl.errors", "mipi_pl.threads", "mipi_pl.wandb_access"),
    ("mipi_pl.own_folder",),
    ("models", "mipi_pl.spec", "mipi_pl.checks", "configs"),
    ("mipi_pl.ranks",),
    ("mipi_pl.envs", "mipi_pl.losses", "mipi_pl.actor"),
    (
        "mipi_pl.algorithms",
        "mipi_pl.evaluation",
        "mipi_pl.theory",
        "mipi_pl.baselines",
        "mipi_pl.checkpoints",
        "mipi_pl.loggers",
        "mipi_pl.weights",
    ),
    ("datamodules", "callbacks", "mipi_pl.config", "mipi_pl.record"),
    ("mipi_pl.assembly", "mipi_pl.wandb_logger", "mipi_pl.dashboard", "mipi_pl.doctor", "mipi_pl.reporting"),
    ("mipi_pl.run_state", "mipi_pl.processes", "mipi_pl.compositions"),
    ("mipi_pl.parts",),
    ("mipi_pl.fitting",),
    ("mipi_pl.runner",),
    ("mipi_pl.evaluator", "mipi_pl.launch", "mipi_pl.resume"),
    ("mipi_pl.reproduction", "mipi_pl.watcher"),
    ("mipi_pl.commands",),
    ("mipi_pl.cli",),
)
# Rooms on one floor that may know each other, besides the floors below.
ALLOWED = {
    ("mipi_pl.actor", "mipi_pl.losses"),
    ("mipi_pl.baselines", "mipi_pl.evaluation"),
    ("mipi_pl.theory", "mipi_pl.evaluation"),
}


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> tuple[int, str] | None:
    """Floor and room; None for a package that is only a namespace, such as mipi_pl itself."""
    found = [
        (floor, room)
        for floor, rooms in enumerate(FLOORS)
        for room in rooms
        if module == room or module.startswith(room + ".")
    ]
    return max(found, key=lambda place: len(place[1])) if found else None


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in PACKAGES}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_point_downwards(path: Path) -> None:
    here = room_of(name_of(path))
    if here is None:
        assert not imports_of(path), f"{name_of(path)} has no floor in this test: give it one"
        return
    for imported in imports_of(path):
        there = room_of(imported)
        if there is None or there[1] == here[1]:
            continue
        allowed = there[0] < here[0] or (here[1], there[1]) in ALLOWED
        assert allowed, f"{name_of(path)} must not import {imported}"


def test_the_runner_reaches_datamodules_and_callbacks_through_configs_only() -> None:
    for path in (ROOT / "mipi_pl").rglob("*.py"):
        above = {name for name in imports_of(path) if name.split(".")[0] in ("datamodules", "callbacks")}
        assert not above, f"{name_of(path)} imports {above}"


def test_the_architecture_shows_these_floors_and_every_module() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree, floors = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[:2]
    shown: list[set[str]] = []
    for line in floors.splitlines():  # each begins with the end of the one before
        found = [{room.strip() for room in floor.split(",")} for floor in line.split("<-")]
        shown += found[1:] if shown else found
    assert shown == [{room.removeprefix("mipi_pl.") for room in floor} for floor in FLOORS]
    listed = set(re.findall(r"^ *(\w+)(?:\.py|/) ", tree, re.MULTILINE))
    assert {room.split(".")[-1] for floor in FLOORS for room in floor} <= listed


def test_every_module_has_a_floor() -> None:
    namespaces = {"mipi_pl"}
    assert [name for name in map(name_of, modules()) if room_of(name) is None and name not in namespaces] == []
