"""Lock file, packages of the wheel, handling of run folders, and rejection of NaN in JSON."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

from mipi_pl.storage import provenance, run_folder
from mipi_pl.storage.files import write_json

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKED = dict(
    line.split("==")
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").lower().splitlines()
    if not line.startswith("#")
)


def test_everything_is_locked_to_one_version() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    locked = [line for name in ("dev", "docs", "dashboard", "launchers") for line in extras[name]]
    for requirement in (*PROJECT["project"]["dependencies"], *locked):
        assert re.split(r"[<>=\[]", requirement)[0] in LOCKED, requirement
    assert LOCKED["torch"] == "2.13.0"
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in LOCKED.values())


def test_the_wheel_holds_the_five_packages_and_no_tests() -> None:
    found = {
        name.split(".")[0] for name in find_packages(str(ROOT), **PROJECT["tool"]["setuptools"]["packages"]["find"])
    }
    assert found == {"mipi_pl", "datamodules", "models", "callbacks", "configs"}
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_the_documents_name_the_python_of_the_package() -> None:
    needed = PROJECT["project"]["requires-python"].removeprefix(">=")
    for document in ("README.md", "CONTRIBUTING.md", "docs/index.md", "Makefile"):
        named = re.findall(r"Python (3\.\d+) or newer", (ROOT / document).read_text(encoding="utf-8"))
        assert set(named) == {needed}, document


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A commit of a small program with our build files, and the folder with its source distribution and wheel."""
    root = tmp_path_factory.mktemp("program")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root / name)
    (root / "mipi_pl").mkdir()
    (root / "mipi_pl" / "__init__.py").touch()
    (root / ".gitignore").write_text("build/\ndist/\n*.egg-info/\n", encoding="utf-8")

    def git(*words: str) -> str:
        named = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *named, *words], cwd=root, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    build = "from setuptools.build_meta import *; build_sdist('dist'); build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=root, check=True, capture_output=True)
    return git("rev-parse", "HEAD").strip(), root / "dist"


def test_a_wheel_and_a_source_distribution_know_their_commit(
    built: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, dist = built
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    for archive in (wheel, source):
        shutil.unpack_archive(archive, tmp_path / archive.suffix, "zip" if archive.suffix == ".whl" else "gztar")
    (unpacked,) = (tmp_path / ".gz").iterdir()
    for root in (tmp_path / ".whl", unpacked):
        monkeypatch.setattr(provenance, "_ROOT", root)
        assert provenance.commit() == commit
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    assert provenance.commit() is None


def test_new_folders_never_collide(tmp_path: Path) -> None:
    folders = {run_folder.new_folder(tmp_path) for _ in range(20)}
    assert len(folders) == 20


def test_only_empty_folders_are_discarded(tmp_path: Path) -> None:
    kept = tmp_path / "outputs" / "kept"
    kept.mkdir(parents=True)
    (kept / "file").touch()
    empty = tmp_path / "outputs" / "run" / "time"
    empty.mkdir(parents=True)
    run_folder.discard_if_empty(empty, tmp_path / "outputs")
    assert kept.exists()
    assert not empty.parent.exists()


def test_latest_moves_to_the_newest_and_spares_a_folder_of_that_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run_folder.link_latest(tmp_path, tmp_path / name)
        assert (tmp_path / "latest").resolve() == tmp_path / name
    assert not os.path.isabs(os.readlink(tmp_path / "latest")), "the folder can be moved"
    other = tmp_path / "other"
    (other / "latest").mkdir(parents=True)
    run_folder.link_latest(other, tmp_path / "a")
    assert "was not updated" in capsys.readouterr().out


def test_numbers_that_json_does_not_know_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "results.json", {"win_rate": float("nan")})
