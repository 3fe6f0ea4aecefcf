"""Lock file, content of the wheel, handling of run folders, and rejection of NaN in JSON."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from mipi_pl.storage import provenance, run_folder
from mipi_pl.storage.files import write_json

ROOT = Path(__file__).resolve().parent.parent
LINKED = ("models", "callbacks", "datamodules", "configs")
"""Folders in the root that are packages of mipi_pl by a link."""
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("mipi_pl", *LINKED):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build("sdist", source, folder)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    build("wheel", next(path for path in folder.glob("mipi_pl-*") if path.is_dir()), folder)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def build(kind: str, source: Path, target: Path) -> None:
    program = f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})"
    done = subprocess.run([sys.executable, "-c", program], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_wheel_holds_one_package_with_every_file_and_nothing_else(wheel: Path) -> None:
    assert sorted(path.name.split("-")[0] for path in wheel.iterdir()) == ["mipi_pl", "mipi_pl"], "package, metadata"
    kept = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    for name in ("mipi_pl", *LINKED):
        inside = wheel / "mipi_pl" / ("" if name == "mipi_pl" else name)
        for path in (path for pattern in ("*.py", *kept) for path in (ROOT / name).rglob(pattern)):
            packed = inside / path.relative_to(ROOT / name)
            assert packed.read_bytes() == path.read_bytes(), packed
    assert not any(path.is_symlink() for path in wheel.rglob("*"))


def test_a_project_may_have_packages_of_the_same_names(wheel: Path, tmp_path: Path) -> None:
    for name in LINKED:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text('raise ImportError("the user\'s own")\n', encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text("import mipi_pl.cli, mipi_pl.models\nprint(mipi_pl.models.__file__)\n", encoding="utf-8")
    # Without machine code: a compiler would need a minute for kernels in a new folder.
    around = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{wheel}", "NUMBA_DISABLE_JIT": "1"}
    training = ["-m", "mipi_pl", "train", "experiment=matrix_game", "debug=tiny"]
    for words, said in ((["script.py"], str(wheel)), (training, "20 frames")):
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=around, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    assert "mipi train experiment=matrix_game" in next(tmp_path.rglob("results.json")).read_text(encoding="utf-8")


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
