"""Runs and policies whose configs name classes by former names still resume, play, export and compare."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mipi_pl.cli import main
from mipi_pl.reporting.groups import settings
from mipi_pl.reporting.runs import read_run
from mipi_pl.run.kinds import imported
from mipi_pl.storage import shipped
from mipi_pl.storage.checkpoint_file import RECORD, read_checkpoint
from mipi_pl.storage.former_names import FORMER_PACKAGES, MOVED, with_present_names
from mipi_pl.utils.errors import UserError

AGENT = "mipi_pl.models.agent.EntityAgent"


def formerly(node: Any) -> Any:
    """A config with the names of the classes in version 0.1."""
    if isinstance(node, list):
        return [formerly(value) for value in node]
    if not isinstance(node, dict):
        return node
    before = {now: former for former, now in MOVED.items()}
    node = {key: formerly(value) for key, value in node.items()}
    if isinstance(target := node.get("_target_"), str):
        is_moved = target.split(".")[1] in FORMER_PACKAGES
        node["_target_"] = target.removeprefix("mipi_pl.") if is_moved else before.get(target, target)
    return node


@pytest.fixture(scope="module")
def older(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with former names, stopped before its report."""
    run = tmp_path_factory.mktemp("older") / "matrix_game__mipi__0" / "2026-01-01_00-00-00"
    shutil.copytree(finished_run, run)
    (run / "results.json").unlink()
    (run / "checkpoints" / "index.json").unlink()  # it has the checksums of the files before the change
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    (run / "config.yaml").write_text(yaml.safe_dump(formerly(config)), encoding="utf-8")
    for path in (run / "checkpoints").glob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        content[RECORD]["config"] = formerly(content[RECORD]["config"])
        torch.save(content, path)
    return run


def test_a_config_with_former_names_is_read_with_the_present_ones(older: Path, finished_run: Path) -> None:
    last = Path("checkpoints") / "last.ckpt"
    stored = torch.load(older / last, weights_only=True)[RECORD]["config"]
    assert stored["callbacks"]["checkpointing"]["_target_"].split(".")[0] == "callbacks"
    assert read_checkpoint(older / last)[1] == read_checkpoint(finished_run / last)[1]


def test_nothing_but_configs_names_modules_in_a_checkpoint(finished_run: Path) -> None:
    content = torch.load(finished_run / "checkpoints" / "last.ckpt", weights_only=True)
    del content[RECORD]["config"]
    assert not [text for text in texts(content) if "mipi_pl." in text]


def texts(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [text for pair in node.items() for part in pair for text in texts(part)]
    if isinstance(node, (list, tuple, set)):
        return [text for value in node for text in texts(value)]
    return [node] if isinstance(node, str) else []


def test_runs_before_and_after_the_change_are_seeds_of_one_group(older: Path, finished_run: Path) -> None:
    both = [settings(read_run(run).config, ("algorithm", "datamodule", "callbacks")) for run in (older, finished_run)]
    assert both[0] == both[1]


def test_a_run_with_former_names_plays_exports_and_resumes(older: Path, tmp_path: Path) -> None:
    last = str(older / "checkpoints" / "last.ckpt")
    assert main(["eval", last, "held_out.episodes=2", f"output_dir={tmp_path}"]) == 0
    watch = ["--episodes", "1", "--format", "html", "--against", last]
    assert main(["watch", last, *watch, f"output_dir={tmp_path}"]) == 0
    assert main(["export", last, "--output", str(tmp_path / "policy.safetensors")]) == 0
    assert read_checkpoint(tmp_path / "policy.safetensors")[1]["algorithm"]["agent"]["_target_"] == AGENT
    assert main(["resume", str(older)]) == 0
    assert (older / "results.json").is_file()


@pytest.mark.parametrize("name", shipped.names())
def test_shipped_policies_are_read_with_the_present_names(name: str) -> None:
    _, config = read_checkpoint(Path(importlib.import_module("mipi_pl").__path__[0], "shipped", f"{name}.safetensors"))
    assert config["algorithm"]["agent"]["_target_"] == AGENT


FORMER_MAPPO = {"_target_": "mipi_pl.algorithms.mappo.MAPPO", "alpha": 0.03, "priced": None, "gamma": 0.99}


def test_mappo_with_a_regularizer_is_now_mipi_ppo() -> None:
    network: dict[str, Any] = {"marginal": {}}
    for regularizer, networks in (("mutual_information", network), ("entropy", {}), ("none", network)):
        former = {**FORMER_MAPPO, "regularizer": regularizer, **networks}
        found = with_present_names({"algorithm": former})["algorithm"]
        assert found == {**former, "_target_": "mipi_pl.algorithms.mipi_ppo.MIPIPPO"}


def test_mappo_without_a_regularizer_has_no_keys_of_mipi_ppo() -> None:
    former = {**FORMER_MAPPO, "regularizer": "none", "marginal_teams": "imaginary"}
    present = {"_target_": "mipi_pl.algorithms.mappo.MAPPO", "gamma": 0.99}
    assert with_present_names({"algorithm": former}) == {"algorithm": present}
    assert with_present_names({"algorithm": present}) == {"algorithm": present}


@pytest.mark.parametrize("algorithm", ["mappo", "mipi_ppo"])
def test_an_on_policy_run_of_before_the_split_is_compared_and_resumed_as_one_of_now(
    algorithm: str, tmp_path: Path
) -> None:
    arguments = ["env=marines", "debug=tiny", f"algorithm={algorithm}", f"output_dir={tmp_path}"]
    assert main(["train", *arguments]) == 0
    (run,) = tmp_path.glob("marines__*/*")
    present = read_run(run).config
    config = {**present["algorithm"], "_target_": FORMER_MAPPO["_target_"]}
    if algorithm == "mappo":
        config |= {"regularizer": "none", "alpha": 0.03, "priced": None, "marginal_teams": "imaginary"}
    (run / "config.yaml").write_text(yaml.safe_dump({**present, "algorithm": config}), encoding="utf-8")
    assert settings(read_run(run).config, ("algorithm",)) == settings(present, ("algorithm",))
    assert main(["resume", str(run), "total_frames=200"]) == 0


def test_a_package_of_the_users_own_keeps_its_name() -> None:
    mine = {"agent": {"_target_": "models.agent.Mine"}, "mixer": {"_target_": "mipi_pl.models.mixers.SumMixer"}}
    assert with_present_names(mine) == mine
    assert with_present_names({"agent": {"_target_": "modelsofmine.agent.Mine"}})["agent"]["_target_"][:6] == "models"


def test_a_former_name_in_an_override_is_answered_with_the_present_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"models\.mixers\.SumMixer is now mipi_pl\.models\.mixers\.SumMixer"):
        imported("models.mixers.SumMixer", "algorithm.mixer")
    for unknown in ("models.nothing.SumMixer", "models.mixers.nothing.SumMixer", "modelsofmine.mixers.SumMixer"):
        with pytest.raises(UserError, match="cannot import") as error:
            imported(unknown, "algorithm.mixer")
        assert "is now" not in str(error.value)


def test_the_present_names_exist_and_the_former_do_not() -> None:
    for former, present in MOVED.items():
        module, _, name = present.rpartition(".")
        assert hasattr(importlib.import_module(module), name)
        assert not (Path(importlib.import_module("mipi_pl").__path__[0]) / f"{former.split('.')[1]}.py").exists()
