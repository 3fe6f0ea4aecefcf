"""Commands that read a checkpoint or a run folder: damaged and foreign files, wrong overrides, folders not to write to.

The user sees one message that names the mistake, and no traceback.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from mipi_pl.cli import main


def test_a_missing_checkpoint_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tmp_path / "none.ckpt")]) == 2
    assert "no checkpoint at" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["eval", "watch", "export", "resume", "runs", "report"])
def test_a_name_that_is_too_long_is_told(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([command, "a" * 300]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "a" * 300 in line


def test_results_of_a_changed_environment_say_what_was_changed(
    finished_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(finished_run / "checkpoints" / "last.ckpt")
    chosen = ["held_out.episodes=2", "held_out.baselines=[]"]
    for name, words in (("as_trained", []), ("changed", ["env.payoffs.AB=[[0,1],[1,0]]"])):
        assert main(["eval", checkpoint, *chosen, *words, f"output_dir={tmp_path / name}"]) == 0
    results = {path.parts[-3]: json.loads(path.read_text()) for path in tmp_path.rglob("results.json")}
    assert results["as_trained"]["env_changes"] == {}
    assert results["changed"]["env_changes"]["payoffs"]["AB"] == [[0, 1], [1, 0]]
    first, second = (line for line in capfd.readouterr().out.splitlines() if " frames" in line)
    assert second == f"{first} [env.payoffs changed]"


def test_a_run_whose_config_has_keys_of_the_program_is_evaluated(finished_run: Path, tmp_path: Path) -> None:
    """As configs of earlier versions may: they had no effect."""
    content = torch.load(finished_run / "checkpoints" / "last.ckpt", weights_only=True)
    config = content["mipi"]["config"]
    config["env"] |= {"seed": 5, "num_envs": 3}
    config["held_out"]["worlds"]["again"] = {"team_compositions": ["AB"], "seed": 7}
    torch.save(content, tmp_path / "old.ckpt")
    words = ["held_out.episodes=2", "held_out.baselines=[]", f"output_dir={tmp_path}"]
    assert main(["eval", str(tmp_path / "old.ckpt"), *words]) == 0
    assert main(["eval", str(tmp_path / "old.ckpt"), *words, "+env.seed=5"]) == 2


def test_a_policy_that_diverged_is_told(finished_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its weights are finite, so that they can be saved; its probabilities are not."""
    content = torch.load(finished_run / "checkpoints" / "last.ckpt", weights_only=True)
    for name, weights in content["state_dict"].items():
        if name.startswith(("agent.utilities", "agent.policy_logits")):
            weights.fill_(3e38)
    torch.save(content, tmp_path / "diverged.ckpt")
    assert main(["eval", str(tmp_path / "diverged.ckpt"), f"output_dir={tmp_path}"]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "diverged: its " in line


def test_a_run_folder_in_the_place_of_a_checkpoint_is_told(
    finished_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for command in ("eval", "watch", "export"):
        assert main([command, str(finished_run)]) == 2
        assert f"name its checkpoint: {finished_run / 'checkpoints' / 'last.ckpt'}" in capfd.readouterr().err


@pytest.mark.parametrize("words", [["eval", "p.safetensors"], ["watch", "last.ckpt"], ["resume", "."], ["runs", "."]])
def test_a_file_below_a_folder_that_may_not_be_entered_is_told(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Permissions do not bind root, who may run the tests."""
    secret, real = tmp_path / "secret", os.stat

    def stat(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(f"{secret}"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", stat)
    assert main([words[0], str(secret / words[1])]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"mipi: cannot read or write {secret}")
    assert "(Permission denied): check who owns it" in line


def test_runs_in_a_folder_that_may_not_be_read_are_not_said_to_be_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert main(["runs", str(tmp_path)]) == 2
    assert "which you may not read or enter" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["last.ckpt", "policy.safetensors"])
def test_a_checkpoint_that_cannot_be_read_is_not_called_damaged(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / name).write_bytes(bytes(200))
    monkeypatch.setattr(Path, "open", failing)
    assert main(["eval", str(tmp_path / name)]) == 2
    assert capfd.readouterr().err == f"mipi: {tmp_path / name} cannot be read (Input/output error)\n"


def test_a_damaged_checkpoint_is_told(finished_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = (finished_run / "checkpoints" / "last.ckpt").read_bytes()
    for name, content in {
        "half": whole[: len(whole) // 2],
        "text": b"not a checkpoint",
        "empty": b"",
        "pickle": b".",  # the unpickler pops from an empty list
    }.items():
        (tmp_path / name).write_bytes(content)
        assert main(["eval", str(tmp_path / name)]) == 2
        stderr = capfd.readouterr().err
        assert "is damaged or not a checkpoint" in stderr
        assert len(stderr.splitlines()) == 1


def test_a_foreign_checkpoint_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, content in {
        "weights": {"state_dict": {}},
        "tensor": torch.zeros(2),
        "no_config": {"state_dict": {}, "mipi": {}},
    }.items():
        torch.save(content, tmp_path / name)
        assert main(["eval", str(tmp_path / name)]) == 2
        assert "was not written by `mipi train`" in capfd.readouterr().err


def test_weights_that_do_not_fit_are_told(
    finished_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(finished_run / "checkpoints" / "last.ckpt", weights_only=True)
    content["state_dict"].popitem()
    torch.save(content, tmp_path / "other.ckpt")
    assert main(["eval", str(tmp_path / "other.ckpt")]) == 2
    assert "do not fit the networks" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("bogus=1", "unknown key bogus"),
        ("held_out.bogus=1", "unknown key held_out.bogus"),
        ("env.payoffs=[1]", "env.payoffs must be a mapping, got [1]"),
        ("env.payoffs.AB.x=1", "env.payoffs.AB must be a list, got {'x': 1}"),
        (
            "env.team_compositions=${nothing}",
            "env cannot be resolved: team_compositions: Interpolation key 'nothing' not found",
        ),
        ("env._target_=builtins.dict", "env._target_ must make an EntityEnv, got dict"),
        ("env.bogus=1", "unknown key env.bogus"),
        ("env.team_sizes=[6]", "unknown key env.team_sizes"),
        ("env=other", "env is not one value"),
        ("held_out=3", "held_out is not one value: change a key in it, such as held_out.team_sizes=[6,7]"),
        ("held_out.episodes=0", "held_out.episodes must be at least 1"),
        ("seed=1,2", "each key takes one value"),
        ("seed", "cannot read the overrides"),
        ("seed=x", "seed must be an integer"),
        ("threads=0", "threads must be at least 1"),
        ("held_out.team_sizes=[3]", "evaluation '3'"),
        ("held_out.worlds.BB.team_compositions=[CC]", "evaluation 'BB' (team_compositions=['CC'])"),
        ("held_out.worlds.training.team_compositions=[BB]", "held_out.worlds.training: an evaluation of this name"),
        ("held_out.worlds.BB=3", "held_out.worlds.BB must be a mapping of environment arguments"),
        ("held_out.episodes=1000000000000", "the results of 1,000,000,000,000 episodes would take about 64 TB"),
    ],
)
def test_a_mistake_in_an_evaluation_is_told(
    override: str, message: str, finished_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", str(finished_run / "checkpoints" / "last.ckpt"), f"output_dir={tmp_path / 'out'}", override]
    assert main(arguments) == 2
    stderr = capfd.readouterr().err
    assert message in stderr
    assert len(stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_full_when_eval_writes_is_told(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mipi_pl.run.evaluate.write_csv", full)
    checkpoint = str(finished_run / "checkpoints" / "last.ckpt")
    assert main(["eval", checkpoint, "held_out.episodes=2", f"output_dir={tmp_path}"]) == 2
    captured = capsys.readouterr()
    assert "win rate" in captured.out, "what was played is shown all the same"
    assert "(No space left on device); name another folder" in captured.err


@pytest.mark.parametrize(("command", "play"), [("eval", "playing.evaluate"), ("watch", "watch.record_episodes")])
def test_nothing_is_played_for_a_folder_that_cannot_be_created(
    command: str, play: str, finished_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(f"mipi_pl.run.{play}", lambda *_: pytest.fail("played"))
    checkpoint = str(finished_run / "checkpoints" / "last.ckpt")
    assert main([command, checkpoint, "output_dir=/dev/null/x"]) == 2
    assert capsys.readouterr().err.startswith("mipi: cannot write to /dev/null/x (Not a directory); name another")


@pytest.mark.parametrize(("command", "play"), [("eval", "playing.evaluate"), ("watch", "watch.record_episodes")])
def test_an_interrupted_evaluation_leaves_no_folder(
    command: str, play: str, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        assert list(tmp_path.rglob("*-*")), "the folder is created first"
        raise KeyboardInterrupt

    monkeypatch.setattr(f"mipi_pl.run.{play}", interrupted)
    checkpoint = str(finished_run / "checkpoints" / "last.ckpt")
    (tmp_path / "mine").mkdir()
    for parent in ("mine", "new/deep"):
        assert main([command, checkpoint, f"output_dir={tmp_path / parent}"]) == 130
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"], "which was there before"
