"""The workspace as code, and equal searches by a W&B sweep and by Hydra."""

from __future__ import annotations

import json
import re
import sys
from itertools import product
from pathlib import Path

import pytest
import yaml

from mipi_pl.cli import main
from mipi_pl.run.compose import compose
from mipi_pl.run.config import check_train, resolve
from mipi_pl.run.launch import combinations

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_without_a_key_the_definition_is_written_and_it_is_said_what_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dashboard", "--held-out", "9", "10", "--group", "quickstart"]) == 0
    said = capsys.readouterr().out
    assert "outputs/dashboard.json" in said
    assert "wandb login" in said
    section = json.loads((tmp_path / "outputs" / "dashboard.json").read_text())["spec"]["section"]
    panels = [panel for part in section["panelBankConfig"]["sections"] for panel in part["panels"]]
    shown = {metric for panel in panels for metric in panel["config"].get("metrics", [])}
    assert {"eval/win_rate_9", "final/win_rate_10", "eval/win_rate_training", "held_out/score"} <= shown
    curves = [panel["config"] for panel in panels if panel["config"].get("xAxis")]
    assert {curve["xAxis"] for curve in curves} == {"frames"}
    assert section["runSets"][0]["grouping"] == [{"section": "config", "name": "run.value.setting"}]
    assert "quickstart" in json.dumps(section["runSets"][0]["filters"])


def test_without_the_extra_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    monkeypatch.delitem(sys.modules, "mipi_pl.logging.dashboard", raising=False)
    assert main(["dashboard"]) == 2
    assert "pip install 'mipi-pl[dashboard]'" in capsys.readouterr().err


def test_an_unknown_mode_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "bogus")
    assert main(["dashboard"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mipi: the environment variable WANDB_MODE must be one of online, ")


@pytest.mark.parametrize("mode", ["offline", "dryrun", "disabled"])
def test_a_mode_without_network_keeps_a_key_from_being_used(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was used"))
    monkeypatch.setattr("mipi_pl.logging.wandb.default_entity", lambda: pytest.fail("W&B was asked"))
    assert main(["dashboard"]) == 0
    assert f"WANDB_MODE={mode}, so nothing was sent: unset WANDB_MODE" in capsys.readouterr().out
    assert json.loads((tmp_path / "outputs" / "dashboard.json").read_text())["spec"]


def test_the_sweep_and_the_multirun_of_the_documents_make_the_same_runs() -> None:
    sweep = yaml.safe_load((ROOT / "examples" / "sweep.yaml").read_text())
    *command, arguments = sweep["command"]
    assert (command[:2], arguments) == (["mipi", "train"], "${args_no_hyphens}")
    values = [parameter["values"] for parameter in sweep["parameters"].values()]
    chosen = [[f"{k}={v}" for k, v in zip(sweep["parameters"], one, strict=True)] for one in product(*values)]
    runs = [[*command[2:], *one] for one in chosen]
    for run in runs:
        check_train(resolve(compose(run)))
    text = (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^mipi train -m (.*algorithm\.alpha=.*)$", text, re.MULTILINE)
    assert sorted(map(sorted, combinations(line.split()))) == sorted(map(sorted, runs))


def test_the_sweep_maximizes_a_metric_that_is_logged_for_teams_that_do_not_judge_the_result() -> None:
    sweep = yaml.safe_load((ROOT / "examples" / "sweep.yaml").read_text())
    assert sweep["metric"] == {"name": "eval/score_6", "goal": "maximize"}
    assert 6 in compose(["experiment=quickstart"]).held_out.team_sizes
