"""The split of a run: printed by `mipi compositions`, checked before training, stored with the results."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mipi_pl.cli import main
from mipi_pl.envs.composition import Composition
from mipi_pl.run.teams import _listed

MIXES = "+held_out.worlds.mixes.mixes=held_out"


@pytest.mark.parametrize(("family", "training", "held_out"), [("sz", 15, 24), ("csz", 28, 38), ("mmm", 28, 38)])
def test_the_papers_families_have_as_many_as_refils_generator(
    family: str, training: int, held_out: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compositions", f"env={family}"]) == 0
    printed = capsys.readouterr().out
    assert f"{family}: {training} compositions in training, {held_out} held out" in printed
    assert len({line for line in printed.splitlines() if line.startswith("    ")}) == training + held_out


def test_mixes_of_the_training_sizes_are_held_out_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    held_out = "env.split.held_out=[{stalker: 3}, {stalker: 2, zealot: 3}]"
    assert main(["compositions", "env=sz", held_out, MIXES]) == 0
    printed = capsys.readouterr().out
    assert "13 compositions in training, 26 held out" in printed
    assert (
        printed.index("held out 'mixes': 2")
        < printed.index("\n    3 stalker\n")
        < printed.index("    2 stalker + 3 zealot\n")
    )
    assert "note:" not in printed
    assert main(["compositions", "env=sz", held_out]) == 0
    assert "note: held out and never played: 3 stalker, 2 stalker + 3 zealot" in capsys.readouterr().out


def test_a_size_is_listed_once_in_any_order_of_the_teams() -> None:
    teams = [Composition((("marine", 5),)), Composition((("marine", 3),)), Composition((("zealot", 5),))]
    assert re.findall(r"\d agents, \d", _listed("training", teams)) == ["3 agents, 1", "5 agents, 2"]


@pytest.mark.parametrize("command", ["compositions", "train"])
def test_teams_that_are_trained_on_are_no_held_out_teams(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["env=sz", "held_out.team_sizes=[5,6]", f"output_dir={tmp_path / 'outputs'}", "debug=tiny"]
    assert main([command, *chosen]) == 2
    refused = capsys.readouterr().err
    assert "evaluation '5' plays compositions of training: 1 stalker + 4 zealot, " in refused
    assert len(refused.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("also", ["capacity: 27", "parallel: true"])
def test_what_changes_no_rule_makes_no_held_out_team(also: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compositions", "env=sz", f"+held_out.worlds.large={{team_sizes: [5, 7], {also}}}"]) == 2
    assert "evaluation 'large' plays compositions of training: " in capsys.readouterr().err


@pytest.mark.parametrize("mixes", ["all", "[{stalker: 3}, {zealot: 8}]"])
def test_mixes_that_the_split_holds_out_are_not_trained_on_by_another_key(
    mixes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["env=sz", "held_out.team_sizes=[]", "env.split.held_out=[{stalker: 3}]", f"env.mixes={mixes}"]
    assert main(["compositions", *chosen]) == 2
    assert capsys.readouterr().err == (
        "mipi: env.mixes trains on compositions that env.split holds out: 3 stalker; choose env.mixes=training or "
        "remove them from one of the two\n"
    )


def test_worlds_whose_features_mean_something_else_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    swapped = "groups: [{types: [zealot, stalker], min: 3, max: 64}]"
    assert main(["compositions", "env=sz", f"+held_out.worlds.large={{team_sizes: [6], {swapped}}}"]) == 2
    assert capsys.readouterr().err == (
        "mipi: held_out: evaluation 'large' (team_sizes=[6], groups=[{'types': ['zealot', 'stalker'], 'min': 3, 'max': "
        "64}]): feature 5 was 'type_stalker' where the policy was trained and is 'type_zealot' in this environment: "
        "give unit types and other lists in the order of training\n"
    )


def test_the_same_teams_in_another_world_are_no_overlap(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compositions", "env=sz", "+held_out.worlds.short_sight.sight_range=6"]) == 0
    assert "held out 'short_sight': 15" in capsys.readouterr().out


def test_the_compositions_are_stored_with_the_results(tmp_path: Path) -> None:
    split = ["env.split.share=0.34", "env.split.sizes=[3]", "env.split.seed=4"]
    chosen = ["env=sz", "env.team_sizes=[3]", "held_out.team_sizes=[4]", MIXES, *split]
    small = ["debug=tiny", "env.episode_limit=12", "held_out.baselines=[]", f"output_dir={tmp_path}"]
    assert main(["train", *chosen, *small]) == 0
    stored = json.loads((tmp_path / "latest" / "results.json").read_text())["compositions"]
    training, mixes = set(stored["training"]), set(stored["held_out"]["mixes"])
    assert len(training) == 3
    assert len(mixes) == 1
    assert training.isdisjoint(mixes)
    assert len(stored["held_out"]["4"]) == 5
    config = OmegaConf.load(tmp_path / "latest" / "config.yaml")
    assert config.env.split == {"sizes": [3], "training": None, "held_out": [], "share": 0.34, "seed": 4}
