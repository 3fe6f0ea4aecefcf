"""`mipi train` and `mipi eval` as commands: files, output and exit codes."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mipi_pl.cli import main
from mipi_pl.run import evaluate, loaded_run
from mipi_pl.run.processes import _in_a_multirun
from mipi_pl.storage.files import sha256_of
from mipi_pl.utils.errors import DivergedError

ROOT = Path(__file__).resolve().parent.parent
MIPI = [sys.executable, "-c", "import sys; from mipi_pl.cli import main; sys.exit(main())"]


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return content


def train(root: Path, *overrides: str) -> int:
    return main(["train", "experiment=matrix_game", "debug=tiny", f"output_dir={root}", *overrides])


def test_a_run_leaves_everything_in_its_own_folder(finished_run: Path) -> None:
    assert finished_run.parent.name == "matrix_game__mipi__0"
    for name in ("config.yaml", "metrics.csv", "evaluations.csv", "results.json", "results.csv", "results.png"):
        assert (finished_run / name).stat().st_size > 0, name
    names = {path.name for path in (finished_run / "checkpoints").iterdir()}
    newest = [name for name in names if name.startswith("update_")]
    assert names == {"last.ckpt", "best.ckpt", "best-heldout.ckpt", "index.json", "replay", *newest}
    assert len(newest) == 2


def test_results_json_has_the_promised_form(finished_run: Path) -> None:
    found = results(finished_run)
    scored = {"sizes", "win_rate", "return", "episodes", "win_rate_low", "win_rate_high"}
    for part in (found, found["before"]):
        assert scored <= part["training"].keys()
        assert scored <= part["held_out"]["BB"].keys()
    assert found["training"]["episodes"] == 3
    assert found["frames"] >= 20
    assert found["updates"] > 0
    assert found["seconds"] > found["seconds_training"] > 0
    assert {"python", "torch", "lightning", "numba"} <= found["versions"].keys()
    assert {"command", "commit", "scripted", "seed"} <= found.keys()


def test_the_frame_budget_is_met_and_counted(finished_run: Path) -> None:
    environments = 2
    steps_between_looks = 8
    assert 20 <= results(finished_run)["frames"] < 20 + environments * steps_between_looks


def test_the_saved_config_is_resolved(finished_run: Path) -> None:
    text = (finished_run / "config.yaml").read_text(encoding="utf-8")
    assert "${" not in text
    assert yaml.safe_load(text)["run"]["folder"] == str(finished_run)


def test_evaluations_are_written_by_size_and_by_composition(finished_run: Path) -> None:
    with (finished_run / "evaluations.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["level"] for row in rows} == {"all", "size", "composition"}
    assert {row["evaluation"] for row in rows} == {"training", "BB"}
    frames = sorted({int(row["frames"]) for row in rows})
    assert frames[0] == 0, "the untrained policy is on the curve"
    assert len(frames) > 2, "and so is the policy while it learns"


def test_metrics_hold_win_rates_and_frames(finished_run: Path) -> None:
    with (finished_run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        names = set(csv.DictReader(file).fieldnames or ())
    assert {"step", "frames", "eval/win_rate_training", "eval/win_rate_BB", "eval/win_rate_BB_low"} <= names


def test_a_checkpoint_is_plain_data_with_the_config_of_its_run(finished_run: Path) -> None:
    content = torch.load(finished_run / "checkpoints" / "last.ckpt", weights_only=True)
    record = content["mipi"]
    assert record["config"]["run"]["environment"] == "matrix_game"
    assert record["frames"] == results(finished_run)["frames"]
    assert record["updates"] == results(finished_run)["updates"] == content["global_step"]
    assert "torch" in record["versions"]


def test_no_run_overwrites_another_and_latest_leads_to_the_newest(tmp_path: Path) -> None:
    folders = []
    for _ in range(2):  # the second often starts within the same second
        assert train(tmp_path) == 0
        folders.append((tmp_path / "latest").resolve())
    assert folders[0] != folders[1]
    assert all((folder / "results.json").exists() for folder in folders)


def test_equal_seeds_train_equal_policies(finished_run: Path, tmp_path: Path) -> None:
    assert train(tmp_path) == 0
    assert train(tmp_path / "other", "seed=1") == 0
    weights = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (finished_run, tmp_path / "latest", tmp_path / "other" / "latest")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_how_often_is_evaluated_does_not_change_what_is_learned(finished_run: Path, tmp_path: Path) -> None:
    assert train(tmp_path, "callbacks.generalization.every_frames=4", "callbacks.generalization.episodes=5") == 0
    mine, other = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (finished_run, tmp_path / "latest")
    )
    assert all(torch.equal(mine[name], other[name]) for name in mine)


def test_eval_reproduces_what_training_printed(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = finished_run / "checkpoints" / "last.ckpt"
    assert main(["eval", str(checkpoint), f"output_dir={tmp_path}"]) == 0
    (folder,) = tmp_path.iterdir()
    after, trained = results(folder), results(finished_run)
    assert after["training"] == trained["training"]
    assert after["held_out"] == trained["held_out"]
    assert after["scripted"] == trained["scripted"]
    assert {path.name for path in folder.iterdir()} == {"results.json", "results.csv", "results.png"}
    assert "results.json" in capsys.readouterr().out


def test_the_checksum_is_that_of_the_checkpoint_that_was_played(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    shutil.copy(finished_run / "checkpoints" / "last.ckpt", path)
    assert train(tmp_path / "goes_on", "seed=1", "total_frames=40") == 0
    newer = tmp_path / "goes_on" / "latest" / "checkpoints" / "last.ckpt"
    build = loaded_run._load

    def replaced_meanwhile(*arguments: Any) -> loaded_run.LoadedRun:
        shutil.copy(newer, path)
        return build(*arguments)

    monkeypatch.setattr(loaded_run, "_load", replaced_meanwhile)
    assert main(["eval", str(path), f"output_dir={tmp_path / 'eval'}"]) == 0
    (folder,) = (tmp_path / "eval").iterdir()
    played = results(folder)["checkpoint"]
    frames = torch.load(newer, weights_only=True)["mipi"]["frames"]
    assert (played["frames"], played["sha256"]) == (frames, sha256_of(newer))


def test_a_checkpoint_that_does_not_stay_is_told(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path, build = tmp_path / "last.ckpt", loaded_run._load
    shutil.copy(finished_run / "checkpoints" / "last.ckpt", path)
    checksums = map(str, count())
    with monkeypatch.context() as changed:
        changed.setattr(evaluate, "sha256_of", lambda _: next(checksums))
        assert main(["eval", str(path)]) == 2
    assert "last.ckpt to stay the same while it is loaded, but it changed 5 times" in capfd.readouterr().err

    def removed_meanwhile(*arguments: Any) -> loaded_run.LoadedRun:
        path.unlink()
        return build(*arguments)

    monkeypatch.setattr(loaded_run, "_load", removed_meanwhile)
    assert main(["eval", str(path)]) == 2
    assert "no checkpoint at " in capfd.readouterr().err


def test_eval_writes_beside_the_checkpoint_and_never_twice_to_one_folder(tmp_path: Path) -> None:
    assert train(tmp_path) == 0
    checkpoint = tmp_path / "latest" / "checkpoints" / "last.ckpt"
    for override in ("seed=1", "env.team_compositions=[BB,AB]"):
        assert main(["eval", str(checkpoint), override, "held_out.episodes=5"]) == 0
    folders = sorted((tmp_path / "latest" / "eval").iterdir())
    assert len(folders) == 2
    assert all(results(folder)["training"]["episodes"] == 5 for folder in folders)


def test_eval_plays_other_team_sizes_of_a_battle(tmp_path: Path) -> None:
    arguments = ["env=marines", "debug=tiny", "held_out.team_sizes=[6]", f"output_dir={tmp_path}"]
    assert main(["train", *arguments]) == 0
    run = (tmp_path / "latest").resolve()
    assert set(results(run)["scripted"]) == {"random", "attack_nearest", "focus_fire"}
    checkpoint = run / "checkpoints" / "last.ckpt"
    chosen = ["env.team_sizes=[2,6]", "held_out.worlds.even.enemy_delta=0", f"output_dir={tmp_path / 'eval'}"]
    assert main(["eval", str(checkpoint), *chosen]) == 0
    (folder,) = (tmp_path / "eval").iterdir()
    assert set(results(folder)["held_out"]) == {"2", "6", "even"}
    assert "training" not in results(folder)
    assert results(folder)["held_out"]["6"] == results(run)["held_out"]["6"], "a size is played as training played it"


def test_an_evaluation_is_added_to_those_of_the_run_or_changed_among_them(finished_run: Path, tmp_path: Path) -> None:
    checkpoint = str(finished_run / "checkpoints" / "last.ckpt")
    assert set(results(finished_run)["held_out"]) == {"BB"}
    for name, chosen, expected in (
        ("more", ["held_out.worlds.both.team_compositions=[AB,BB]"], {"BB", "both"}),
        ("changed", ["held_out.worlds.BB.team_compositions=[AB,BB]"], {"BB"}),
        ("instead", ["held_out.worlds={only: {team_compositions: [BB]}}"], {"only"}),
    ):
        assert main(["eval", checkpoint, *chosen, f"output_dir={tmp_path / name}"]) == 0
        (folder,) = (tmp_path / name).iterdir()
        assert set(results(folder)["held_out"]) == expected


def test_where_nothing_is_won_the_return_is_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small = ["debug=tiny", "env.episode_limit=40", "algorithm.agent.width=8", "algorithm.mixer.width=8"]
    small += ["held_out.team_sizes=[6]", f"output_dir={tmp_path}"]
    arguments = ["experiment=paper", "env=resource_collection", *small]
    assert main(["train", *arguments, "held_out.baselines=[focus_fire]"]) == 2
    assert "held_out.baselines: scripted policies of this world are random, expert" in capfd.readouterr().err
    assert main(["train", *arguments]) == 0
    told = capfd.readouterr().out
    assert "return trained [95 %]" in told
    assert "win rate" not in told
    run = (tmp_path / "latest").resolve()
    scripted = results(run)["scripted"]
    assert set(scripted) == {"random", "expert"}
    assert scripted["expert"]["training"]["return"] > 10 + scripted["random"]["training"]["return"]
    assert "win_rate" not in (run / "results.json").read_text() + (run / "evaluations.csv").read_text()
    checkpoint = str(run / "checkpoints" / "last.ckpt")
    assert main(["eval", checkpoint, "env.team_sizes=[8]", "held_out.baselines=[expert]"]) == 0
    assert "return [95 %]" in capfd.readouterr().out


@pytest.mark.parametrize("command", [["eval", "quickstart"], ["train", "experiment=quickstart", "debug=tiny"]])
def test_an_unknown_scripted_policy_is_told_before_any_policy_plays(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def played(*_: object) -> None:
        raise AssertionError("a policy has played")

    for module in ("evaluate", "train"):
        monkeypatch.setattr(f"mipi_pl.run.{module}.play_learned", played)
    assert main([*command, "held_out.baselines=[random,nope]", f"output_dir={tmp_path}"]) == 2
    assert "held_out.baselines: scripted policies of this world are random, " in capfd.readouterr().err


def test_eval_refuses_team_sizes_above_the_capacity(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "env=marines",
        "env.target_actions=tags",
        "debug=tiny",
        "held_out.team_sizes=[]",
        "held_out.baselines=[]",
        f"output_dir={tmp_path}",
    ]
    assert main(["train", *arguments]) == 0
    checkpoint = str(tmp_path / "latest" / "checkpoints" / "last.ckpt")
    for override in ("env.team_sizes=[3,99]", "env.capacity=99", "held_out.worlds={big: {capacity: 12}}"):
        assert main(["eval", checkpoint, override]) == 2
        assert "capacity" in capfd.readouterr().err


@pytest.mark.parametrize("algorithm", ["mipi", "mipi_ppo", "collaq"])
def test_a_policy_that_scores_its_targets_plays_in_teams_of_any_size(
    algorithm: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    world = ["env.target_actions=slots", "env.capacity=4", "env.team_sizes=[3]", "env.episode_limit=8"]
    nothing_else = ["held_out.team_sizes=[]", "held_out.baselines=[]", f"output_dir={tmp_path}"]
    chosen = ["env=mmm" if algorithm == "mipi" else "env=marines", f"algorithm={algorithm}", "debug=tiny"]
    assert main(["train", *chosen, *world, *nothing_else]) == 0
    checkpoint = str(tmp_path / "latest" / "checkpoints" / "last.ckpt")
    sizes = [6, 8] if algorithm == "mipi" else [12, 16]
    assert main(["eval", checkpoint, "env.capacity=16", f"env.team_sizes={sizes}"]) == 0
    (report,) = (tmp_path / "latest" / "eval").glob("*/results.json")
    assert list(json.loads(report.read_text())["held_out"]) == [str(size) for size in sizes]
    assert main(["eval", checkpoint, "env.target_actions=tags"]) == 2
    assert "env.target_actions cannot be changed after training" in capfd.readouterr().err


def test_a_multirun_trains_each_combination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-m", "experiment=matrix_game", "debug=tiny", "seed=3,4"]) == 0
    found = {path.parent.parent.name for path in Path("outputs").glob("*/*/results.json")}
    assert found == {"matrix_game__mipi__3", "matrix_game__mipi__4"}


def test_a_multirun_goes_on_after_a_run_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    seeds = []

    def diverge_first(config: DictConfig) -> None:
        seeds.append(config.seed)
        if len(seeds) <= 2:
            raise (DivergedError("the critic diverged in update 1\nand more"), MemoryError())[len(seeds) - 1]

    monkeypatch.setattr("mipi_pl.run.launch.train", diverge_first)
    chosen = ["experiment=matrix_game", "debug=tiny", f"output_dir={tmp_path}"]
    assert main(["train", "-m", *chosen, "seed=3,4,5"]) == 1
    assert seeds == [3, 4, 5]
    first, second, last = (line for line in capfd.readouterr().err.splitlines() if line.startswith("mipi: "))
    assert first == "mipi: the critic diverged in update 1"
    assert second.startswith("mipi: memory was used up (MemoryError)")
    assert last.startswith("mipi: 2 of 3 runs failed: ")
    assert last.endswith("matrix_game__mipi__4")
    assert main(["train", *chosen]) == 0, "the first of one command"


@pytest.mark.parametrize("later", ["algorithm.gamma=0.9,1.2", "held_out.team_sizes=[],[9]"])
def test_a_mistake_in_a_later_run_is_found_before_the_first(
    later: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = ["env=sz", "debug=tiny", f"output_dir={tmp_path}", later]
    assert main(["train", "-m", *chosen]) == 2
    assert capfd.readouterr().err.count("mipi: ") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", RunMode)
def test_a_program_with_a_main_of_hydra_counts_as_a_multirun_only_if_it_is_one(
    mode: RunMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create({"hydra": {"mode": mode}}))
    assert _in_a_multirun() is (mode is RunMode.MULTIRUN)


def test_a_multirun_in_several_processes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    two = ["trainer.accelerator=cpu", "trainer.devices=2"]
    assert main(["train", "-m", "experiment=matrix_game", "debug=tiny", *two, "seed=3,4"]) == 2
    assert "a multirun trains one run after the other in one process" in capfd.readouterr().err


def test_a_config_that_was_shown_is_not_taken_for_that_of_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ["train", "experiment=matrix_game", "debug=tiny"]
    assert main([*run, "--cfg", "job"]) == 0
    assert main([*run, "run.name=${hydra:job.name}"]) == 2
    assert "${hydra:...} has no value here" in capfd.readouterr().err


def test_help_and_version_answer(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (
        (["--help"], "mipi train"),
        (["--version"], "mipi 0."),
        (["eval", "--help"], "held_out.episodes"),
        (["train", "--help"], "env: "),
        (["train", "--cfg", "job"], "total_frames: "),
    ):
        assert main(arguments) == 0
        assert expected in capsys.readouterr().out


def test_without_a_terminal_the_output_is_plain(tmp_path: Path) -> None:
    command = [*MIPI, "train", "experiment=matrix_game", "debug=tiny", "callbacks.progress.every_s=0.01"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=True)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("mipi on matrix_game, seed 0: 20 frames, folder outputs/")
    assert any(" frames (" in line and " updates (" in line and "left" in line for line in lines)
    assert not any(character in done.stdout for character in "\r\x1b\b")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_termination_save_and_end_with_130(number: signal.Signals, tmp_path: Path) -> None:
    command = [
        *MIPI,
        "train",
        "experiment=matrix_game",
        "total_frames=1000000",
        "held_out.episodes=2",
        "callbacks.progress.every_s=0.2",
    ]

    def obey_ctrl_c() -> None:  # a shell starts its background jobs, such as this test run, with Ctrl-C ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, preexec_fn=obey_ctrl_c, **pipes) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if " updates (" in line:
                break
        process.send_signal(number)
        _, told = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert "resume with: mipi resume outputs/" in told
    checkpoint = tmp_path / "outputs" / "latest" / "checkpoints" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["mipi"]["frames"] > 0
