"""Lock file, packages of the wheel, handling of run folders, and rejection of NaN in JSON."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import tomllib
from setuptools import find_packages

from mipi_pl.storage import run_folder
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
