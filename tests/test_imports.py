"""Imports follow the contracts in pyproject.toml, and private names of libraries are used in one module only."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from importlinter.cli import EXIT_STATUS_SUCCESS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("models", "mipi_pl", "datamodules", "callbacks")
COMPAT = ROOT / "mipi_pl" / "utils" / "compat.py"


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def private_imports(path: Path) -> set[str]:
    """Names with a leading underscore that a module imports from other packages."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in names if any(part.startswith("_") for part in name.split("."))}
    return found


def test_the_contracts_of_pyproject_hold() -> None:
    # In a process of its own: import-linter sets up logging on streams that pytest closes.
    script = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports('pyproject.toml', cache_dir=None))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_STATUS_SUCCESS, done.stdout + done.stderr


def test_private_names_of_libraries_are_in_compat_alone() -> None:
    assert private_imports(COMPAT)
    assert {path.name: names for path in modules() if path != COMPAT and (names := private_imports(path))} == {}


def test_modules_import_each_other_by_their_whole_name() -> None:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"


def test_the_architecture_shows_the_layers_of_the_contract() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = re.findall(r"^```\n(cli\n.*?)^```$", text, re.MULTILINE | re.DOTALL)[0]
    shown = [line.split("  ")[0] for line in picture.splitlines()]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = project["tool"]["importlinter"]["contracts"]
    assert shown == [layer.replace("mipi_pl.", "") for layer in contract["layers"]]


def test_help_waits_for_no_large_library() -> None:
    script = "import sys; from mipi_pl.cli import main; main(['--help']); print({'torch', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_every_package_of_mipi_pl_has_a_layer() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = project["tool"]["importlinter"]["contracts"]
    layers = {module for layer in contract["layers"] for module in layer.split(" | ")}
    present = {path.parent.name for path in (ROOT / "mipi_pl").glob("*/__init__.py")}
    present |= {path.stem for path in (ROOT / "mipi_pl").glob("*.py")} - {"__init__"}
    assert {f"mipi_pl.{name}" for name in present} <= layers
