"""Names of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mipi_pl.cli import main
from mipi_pl.run.compose import compose


@pytest.mark.parametrize("key", ["overrides", "changes", "setting"])
def test_a_run_has_its_names_also_if_an_override_removes_them(key: str) -> None:
    run = compose([f"~run.{key}", "algorithm=refil"]).run
    assert run.algorithm == "refil"
    assert f"~run.{key}" in run.overrides
    assert run.setting == "marines__refil"


@pytest.mark.parametrize("words", [["~run"], ["-m", "~run", "seed=0,1"], ["-m", "run=3", "seed=0,1"]])
def test_a_config_without_the_node_is_refused_in_one_line(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *words, "debug=tiny", f"output_dir={tmp_path}"]) == 2
    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert "run" in told.splitlines()[-1]
    assert not list(tmp_path.iterdir())
