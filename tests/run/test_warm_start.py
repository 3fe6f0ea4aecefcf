"""`algorithm.init_from`: a run begins with the weights of another one, whatever the algorithms; misfits are refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.cli import main
from mipi_pl.envs.matrix import MatrixGame
from mipi_pl.run.build import build, environment_factory, one_environment
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve
from mipi_pl.run.learner import build_algorithm
from mipi_pl.run.warm_start import _loaded, _renamed, load, settle
from mipi_pl.storage.shipped import located
from mipi_pl.utils.errors import UserError

GAME = ["experiment=matrix_game", "debug=tiny", "held_out.baselines=[]", "picture._target_=crash.no_picture"]
SPEC = MatrixGame({"AB": [[1.0, 0.0], [0.0, 0.0]]}, ["AB"], num_envs=1).entity_spec


def learner(algorithm: str, *overrides: str) -> EntityAlgorithm:
    chosen: EntityAlgorithm = build(
        "algorithm", resolve(compose(["env=matrix_game", f"algorithm={algorithm}", *overrides]))["algorithm"], spec=SPEC
    )
    return chosen


def test_a_folder_does_not_hide_a_policy_that_comes_with_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    composed = compose(["env=matrix_game", "algorithm.init_from=quickstart"])
    settle(composed)
    assert composed.algorithm.init_from == "quickstart"
    assert located(Path("quickstart")).is_file()


@pytest.mark.parametrize(
    ("source", "target", "taken", "fresh"),
    [
        ("mipi", "mipi", "agent.trunk, agent.utilities, agent.policy_logits, marginal, mixer", ""),
        ("refil", "aqmix", "agent.trunk, agent.utilities, mixer", ""),
        ("collaq", "collaq", "agent.trunk, agent.utilities, mixer", ""),
        ("mappo", "mipi_ppo", "agent.trunk, agent.policy_logits, critic, return_scale", "marginal"),
        ("mipi", "mipi_ppo", "agent.trunk, agent.policy_logits, marginal", "critic, return_scale"),
        ("refil", "mipi", "agent.trunk, agent.utilities, mixer", "agent.policy_logits, marginal"),
        ("mipi_ppo", "refil", "agent.trunk", "agent.utilities, mixer"),
    ],
)
def test_what_fits_is_taken_over_and_the_rest_is_named(source: str, target: str, taken: str, fresh: str) -> None:
    torch.manual_seed(1)
    there, here = learner(source), learner(target)
    note = load(here, there.state_dict(), "X")
    parts = set(f"{taken}, {fresh}".strip(", ").split(", "))
    told, _, new = note.removeprefix("initial weights from X: ").partition("; new: ")
    assert (set(told.split(", ")), set(new.split(", ")) - {""}) == (
        set(taken.split(", ")),
        parts - set(taken.split(", ")),
    )
    for name in taken.split(", "):
        mine, theirs = here.get_submodule(name).state_dict(), there.get_submodule(name).state_dict()
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in mine.items())
    for network, copy in here._targets:
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), copy.parameters(), strict=True))
    assert here.updates == 0


@pytest.mark.parametrize("decays", [("null", "0.9"), ("0.9", "null")])
def test_a_critic_in_other_units_is_not_taken_over(decays: tuple[str, str]) -> None:
    torch.manual_seed(1)
    there, here = (learner("mappo", f"algorithm.value_decay={decay}") for decay in decays)
    taken, _, fresh = load(here, there.state_dict(), "X").partition("; new: ")
    assert "critic" not in taken
    assert fresh.split(", ")[0] == "critic"
    assert not torch.equal(next(here.critic.parameters()), next(there.critic.parameters()))


@pytest.mark.parametrize(
    ("source", "target", "overrides", "told"),
    [
        (
            "mipi",
            "mipi",
            ["network.hidden=32"],
            r"agent\.trunk\.recurrence\.linear\.weight has the shape \[64, \d+\] there",
        ),
        ("mipi", "collaq", [], r"agent\.trunk\.alone\.\S+ is not there"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(source: str, target: str, overrides: list[str], told: str) -> None:
    with pytest.raises(UserError, match=rf"the policy in X does not fit: {told}"):
        load(learner(target, *overrides), learner(source).state_dict(), "X")


@pytest.mark.parametrize(
    ("types", "told"),
    [
        ("stalker, zealot", ""),
        ("zealot, stalker", "warning: feature 5 was 'type_stalker' where the policy"),
    ],
)
def test_a_world_whose_features_mean_something_else_is_warned_of(types: str, told: str) -> None:
    groups = f"env.groups=[{{types: [{types}], min: 3, max: 64}}]"
    config = resolve(compose(["experiment=quickstart", groups, "algorithm.init_from=quickstart"]))
    with one_environment(environment_factory(config["env"])) as env:
        note = _loaded(build_algorithm(config["algorithm"], env.entity_spec), "quickstart", None)[1]
    assert told in note
    assert ("warning" in note) == bool(told)


@pytest.mark.parametrize(
    "env",
    [
        {"_target_": "os.mkdir", "path": "made"},
        {"_target_": "mipi_pl.envs.battle.env.Path", "args": "made"},
        {"_target_": "mipi_pl.envs.battle.env.BattleEnv", "groups": [{"_target_": "os.mkdir", "path": "made"}]},
        {"_target_": "mipi_pl.envs.battle.env.BattleEnv", "map_size": "${oc.env:HOME}"},
        {"_target_": "mipi_pl.envs.battle.env.BattleEnv", "no_longer": 1},
        {},
    ],
)
def test_nothing_that_a_file_names_is_executed_to_compare_worlds(
    env: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _renamed(learner("mipi"), {"env": env}) == ""
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def warm(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that began with the policy of another one."""
    root = tmp_path_factory.mktemp("warm")
    source = finished_run / "checkpoints" / "last.ckpt"
    assert main(["train", *GAME, "seed=5", f"algorithm.init_from={source}", f"output_dir={root}"]) == 0
    return (root / "latest").resolve()


def test_a_run_begins_with_the_policy_and_records_it(warm: Path, finished_run: Path) -> None:
    config = yaml.safe_load((warm / "config.yaml").read_text())
    assert config["algorithm"]["init_from"] == str(finished_run / "checkpoints" / "last.ckpt")

    def row(folder: Path, policy: str) -> list[str]:
        lines = (folder / "results.csv").read_text().splitlines()
        return next(line.split(",")[1:] for line in lines if line.startswith(f"{policy},training,all"))

    assert row(warm, "untrained") == row(finished_run, "trained")


def test_a_resumed_run_needs_its_own_copy_only(warm: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    copy = Path(shutil.copytree(warm, tmp_path / "root" / "name" / "run"))
    before = (copy / "results.csv").read_text()
    (copy / "results.json").unlink()
    assert main(["resume", str(copy)]) == 0
    assert (copy / "results.csv").read_text() == before
    (copy / "results.json").unlink()
    (copy / "initial.ckpt").unlink()
    assert main(["resume", str(copy)]) == 2
    assert "has no file initial.*, its copy of" in capfd.readouterr().err


def test_a_run_that_began_with_a_file_without_a_suffix_is_resumed(finished_run: Path, tmp_path: Path) -> None:
    shutil.copy(finished_run / "checkpoints" / "last.ckpt", tmp_path / "policy")
    assert main(["train", *GAME, f"algorithm.init_from={tmp_path / 'policy'}", f"output_dir={tmp_path}"]) == 0
    run = (tmp_path / "latest").resolve()
    (run / "results.json").unlink()
    assert main(["resume", str(run)]) == 0
    (run / "results.json").unlink()
    (run / "initial.ckpt").rename(run / "initial")  # its name in earlier versions
    assert main(["resume", str(run)]) == 0


def test_mistakes_are_refused_before_a_folder_is_left(
    warm: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root, known = tmp_path / "runs", f"algorithm.init_from={warm / 'checkpoints' / 'last.ckpt'}"
    for words, told in (
        ("algorithm.init_from=nowhere.ckpt", "algorithm.init_from: no checkpoint at nowhere.ckpt"),
        ("algorithm.init_from=quickstart", "algorithm.init_from: the policy in quickstart does not fit: agent.trunk."),
        ("algorithm.init_from=3", "algorithm.init_from must be a text or null, got 3"),
        (f"{known} held_out.baselines=[nosuch]", "held_out.baselines: this world has no scripted policies"),
    ):
        assert main(["train", *GAME, *words.split(), f"output_dir={root}"]) == 2
        assert told in capfd.readouterr().err
        assert not root.exists()


def test_a_run_that_does_not_begin_leaves_the_users_own_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert main(["train", *GAME, "held_out.baselines=[nosuch]", f"output_dir={tmp_path / 'mine'}"]) == 2
    assert main(["train", *GAME, "held_out.baselines=[nosuch]", f"output_dir={tmp_path / 'mine' / 'more'}"]) == 2
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]
    assert not list((tmp_path / "mine").iterdir())


def test_an_exported_policy_does_not_name_the_file(warm: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.safetensors"
    assert main(["export", str(warm / "checkpoints" / "last.ckpt"), "--output", str(policy)]) == 0
    assert b"init_from" not in policy.read_bytes()
    assert main(["eval", str(policy), "held_out.episodes=2"]) == 0
