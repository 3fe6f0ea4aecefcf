"""`mipi doctor`: one line per part, and advice on missing parts."""

from __future__ import annotations

import importlib.metadata
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import stand_in_game

from mipi_pl.cli import main
from mipi_pl.commands import doctor_checks
from mipi_pl.commands.findings import State


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's user."""
    for name in ("SC2PATH", "WANDB_MODE", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_what_is_optional_and_absent_is_no_fault_but_comes_with_advice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert ("set SC2PATH" if find_spec("pysc2") else "mipi-pl[sc2]") in " ".join(told.split())
    assert "wandb login" in told
    assert max(map(len, told.splitlines())) <= 140
    assert all(any(word in told for word in pair) for pair in (("ok  Python",), ("ok  packages",), ("GPU",), ("SMAC",)))


def test_a_game_and_its_map_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pysc2", reason="needs the extra sc2: pip install 'mipi-pl[sc2]'")
    monkeypatch.setenv("SC2PATH", str(stand_in_game.install(tmp_path, maps=())))
    found = {finding.part: finding for finding in doctor_checks.examine()}
    assert found["StarCraft II"].state is State.GOOD
    assert "no map empty_passive.SC2Map" in found["StarCraft map"].advice
    stand_in_game.install(tmp_path)
    assert {f.part: f for f in doctor_checks.examine()}["StarCraft map"].state is State.GOOD


def test_a_game_that_dies_at_its_start_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pysc2", reason="needs the extra sc2: pip install 'mipi-pl[sc2]'")
    monkeypatch.setenv("SC2PATH", str(stand_in_game.install(tmp_path)))
    program = next(tmp_path.rglob("SC2_x64"))
    program.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    monkeypatch.setattr(doctor_checks, "_START_TIMEOUT_S", 8)  # pysc2 waits for a quarter of it
    assert main(["doctor", "--start-game"]) == 1
    captured = capsys.readouterr()
    assert "WRONG  StarCraft start" in captured.out
    assert captured.err.strip() == "mipi: missing or broken: StarCraft start"


def test_a_package_of_a_wrong_version_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(doctor_checks, "version", lambda name: "0.1" if name == "torchrl" else real(name))
    assert main(["doctor"]) == 1
    captured = capsys.readouterr()
    assert "torchrl 0.1 (required" in captured.out
    assert "pip install 'torchrl" in captured.out
    assert "missing or broken: packages" in captured.err


def test_a_checkout_of_smac_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smac" / "env" / "starcraft2").mkdir(parents=True)
    (tmp_path / "smac" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {finding.part: finding for finding in doctor_checks.examine()}["SMAC"]
    assert found.state is State.GOOD
    assert found.detail == f"the StarCraft package, in {tmp_path / 'smac'}"


def test_a_source_folder_without_an_installation_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor_checks, "requires", requires)
    found = {finding.part: finding for finding in doctor_checks.examine()}["packages"]
    assert (found.state, found.detail) == (State.ABSENT, "the required versions are unknown: mipi-pl is not installed")


def test_a_pytorch_that_cannot_be_imported_is_told_with_all_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "mipi_pl.envs.smac", raising=False)
    assert main(["doctor"]) == 1
    captured = capsys.readouterr()
    assert "WRONG  PyTorch" in captured.out
    assert "StarCraft II" in captured.out
    assert captured.err.strip() == "mipi: missing or broken: PyTorch", "a package that is optional is not missing"


def test_an_unknown_mode_of_wandb_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "bogus")
    finding = doctor_checks._wandb()
    assert "WANDB_MODE must be one of" in finding.detail
    assert finding.advice


def test_a_key_for_wandb_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert doctor_checks._wandb().state is State.GOOD
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "offline" in doctor_checks._wandb().detail
