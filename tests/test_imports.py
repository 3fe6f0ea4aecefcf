"""Imports follow the contracts in pyproject.toml, and private names of libraries are used in one module only."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS

ROOT = Path(__file__).resolve().parent.parent
LINKED = ("models", "callbacks", "datamodules", "configs")
"""Folders in the root that are packages of mipi_pl by a link."""
PACKAGES = ("mipi_pl", *LINKED)
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


def private_attributes(path: Path, own: set[str]) -> set[str]:
    """Attributes with a leading underscore in a module that no module of the program defines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {name for name in names - own if re.match("_(?!_)", name)} - {"_fields", "_replace", "_asdict", "_exit"}


def names_defined_in(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            found.add(node.attr)
    return found


def test_the_other_uses_of_private_names_are_listed_in_compat() -> None:
    defined = {path: names_defined_in(path) for path in modules()}
    anywhere = set().union(*defined.values()) - {"_cache", "_spec", "_trainer"}  # libraries have these as well
    using = {
        path.relative_to(ROOT).as_posix() for path in modules() if private_attributes(path, anywhere | defined[path])
    }
    using -= {COMPAT.relative_to(ROOT).as_posix()}
    listed = re.findall(r"^\* (\S+\.py):", COMPAT.read_text(encoding="utf-8"), re.MULTILINE)
    assert using == {f"mipi_pl/{name}" for name in listed}


def test_modules_import_each_other_by_their_whole_name() -> None:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"


def test_the_architecture_shows_the_layers_of_the_contract() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = re.findall(r"^```\n(cli\n.*?)^```$", text, re.MULTILINE | re.DOTALL)[0]
    shown = [line.split("  ")[0] for line in picture.splitlines()]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract, *_ = project["tool"]["importlinter"]["contracts"]
    assert shown == [layer.replace("mipi_pl.", "") for layer in contract["layers"]]


def test_help_waits_for_no_large_library() -> None:
    script = "import sys; from mipi_pl.cli import main; main(['--help']); print({'torch', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_every_package_of_mipi_pl_has_a_layer() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract, *_ = project["tool"]["importlinter"]["contracts"]
    layers = {module for layer in contract["layers"] for module in layer.split(" | ")}
    present = {path.parent.name for path in (ROOT / "mipi_pl").glob("*/__init__.py")}
    present |= {path.stem for path in (ROOT / "mipi_pl").glob("*.py")} - {"__init__", "__main__"}
    assert {f"mipi_pl.{name}" for name in present} <= layers


def test_the_folders_in_the_root_are_packages_of_mipi_pl_by_a_link() -> None:
    for name in LINKED:
        link = ROOT / "mipi_pl" / name
        assert link.is_symlink(), f"{link} is a file: git clone -c core.symlinks=true"
        assert link.readlink() == Path("..", name)


def test_nothing_names_these_packages_without_mipi_pl() -> None:
    folders = (*PACKAGES, "tests", "benchmarks", "examples", "docs")
    former = re.compile(rf"({'|'.join(LINKED)})(\..+)?")
    dotted = re.compile(rf"({'|'.join(LINKED)})(\.[a-z_]+)*\.[A-Z]\w*")
    found = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        if path.name in ("former_names.py", "test_former_names.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and former.fullmatch(node.module):
                found.add((path.name, node.module))
            if isinstance(node, ast.Import):
                found |= {(path.name, alias.name) for alias in node.names if former.fullmatch(alias.name)}
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and dotted.fullmatch(node.value):
                found.add((path.name, node.value))
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.yaml")):
        targets = re.findall(r"_target_: *(\S+)", path.read_text(encoding="utf-8"))
        found |= {(path.name, target) for target in targets if former.fullmatch(target)}
    assert found == set()


def test_importing_everything_leaves_the_names_of_these_packages_to_the_user() -> None:
    package = importlib.import_module("mipi_pl")
    for module in pkgutil.walk_packages(package.__path__, "mipi_pl."):
        importlib.import_module(module.name)
    assert {"mipi_pl.models.agent", "mipi_pl.callbacks.progress", "mipi_pl.datamodules.replay"} <= set(sys.modules)
    assert {name for name in sys.modules if name.split(".")[0] in LINKED} == set()


@pytest.mark.parametrize("name", LINKED)
def test_a_module_cannot_be_imported_twice(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    with pytest.raises(ImportError, match=f"this folder is the package mipi_pl.{name}"):
        importlib.import_module(name)
