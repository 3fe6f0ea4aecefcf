"""Each missing part of StarCraft II gives one message, and no game is started."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import stand_in_game
import torch

from mipi_pl.cli import main
from mipi_pl.envs.starcraft2.installation import GameNotFoundError, check_extra, find_game
from mipi_pl.run.compose import compose
from mipi_pl.run.config import check_train, resolve

FAMILIES = ("sz", "csz", "mmm")


def test_no_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SC2PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(GameNotFoundError, match=r"no StarCraft II found: SC2PATH is not set and .* set SC2PATH to the"):
        find_game()
    monkeypatch.setenv("SC2PATH", str(tmp_path / "elsewhere"))
    with pytest.raises(GameNotFoundError, match=r"SC2PATH is .*elsewhere; .*https://github.com/Blizzard"):
        find_game()


def test_the_newest_version_is_taken_and_a_wrong_one_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for build in (75689, 69232):
        stand_in_game.install(tmp_path, build=build)
    (tmp_path / "Versions" / "Base99999").mkdir()  # without a program in it
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    assert find_game().build == 75689
    assert find_game("Base69232").build == 69232
    with pytest.raises(GameNotFoundError, match=r"wrong version: StarCraft II Base80949 is not installed.*Base69232"):
        find_game("Base80949")
    with pytest.raises(GameNotFoundError, match="wrong version: StarCraft II 9 is not installed"):
        find_game("9")


def test_versions_go_by_the_names_that_pysc2_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pysc2", reason="needs the extra sc2: pip install 'mipi-pl[sc2]'")
    monkeypatch.setenv("SC2PATH", str(stand_in_game.install(tmp_path)))
    assert find_game("4.10").build == 75689
    assert "4.10.0 (Base75689)" in find_game().version


def test_no_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SC2PATH", str(stand_in_game.install(tmp_path, maps=("3M",))))
    assert find_game().map_file("3m").name == "3M.SC2Map"
    with pytest.raises(GameNotFoundError, match=r"no map empty_passive.SC2Map below .*Maps: get it from .*REFIL"):
        find_game().map_file("empty_passive")
    with pytest.raises(GameNotFoundError, match=r"no map 8m.SC2Map .*oxwhirl/smac/releases"):
        find_game().map_file("8m")


def test_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "mipi_pl.envs.starcraft2.installation.find_spec", lambda name: None if name == "pysc2" else real(name)
    )
    with pytest.raises(GameNotFoundError, match=r"needs the extra sc2 \(pysc2 missing\): pip install 'mipi-pl\[sc2\]'"):
        check_extra()


@pytest.mark.parametrize("family", FAMILIES)
def test_configs_are_those_of_the_simulator_but_for_the_physics(family: str) -> None:
    game, simulator = (resolve(compose([f"env={name}"])) for name in (f"starcraft2/{family}", family))
    check_train(game)
    own = set(game["env"]) - set(simulator["env"])
    assert {"map_name", "version", "timeout_s", "replay_dir"} <= own
    shared = set(simulator["env"]) - {"_target_"}
    assert {k: game["env"][k] for k in shared} == {k: simulator["env"][k] for k in shared}


def test_a_mistake_in_a_key_of_the_battle_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "env=starcraft2/sz", "+env.sight_rang=9"]) == 2
    assert "unknown key env.sight_rang; did you mean env.sight_range?" in capsys.readouterr().err


def test_training_in_the_game_from_the_command_line_survives_a_crash_and_counts_it(
    installed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = resolve(compose(["env=starcraft2/sz"]))["env"]
    # The two evaluations before training play six steps; one process of the game serves all.
    fault = {"kind": "exit", "step": 8, "seed": None, "marker": str(installed.folder / "failed")}
    installed.set({name: scenario[name] for name in ("groups", "team_sizes", "capacity")}, fault=fault)
    short = ["env.episode_limit=3", "env.max_evaluation_envs=1", "datamodule.num_envs=1", "held_out.team_sizes=[6]"]
    less = ["held_out.episodes=1", "held_out.baselines=[]", "callbacks.generalization.episodes=1", "total_frames=6"]
    assert main(["train", "env=starcraft2/sz", "debug=tiny", *short, *less, f"output_dir={tmp_path / 'out'}"]) == 0
    assert (tmp_path / "out" / "starcraft2-sz__mipi__0").is_dir()
    results = json.loads((tmp_path / "out" / "latest" / "results.json").read_text(encoding="utf-8"))
    assert (results["cut_short"], results["training"]["cut_short"]) == (1, 0)
    assert "episodes cut short by faults of the world: 1\n" in capsys.readouterr().out
    checkpoint = torch.load(tmp_path / "out" / "latest" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["ReplayDataModule"]["cut_short"] == 1
