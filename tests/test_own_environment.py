"""The examples of docs/own_environment.md: environments of other libraries in a folder of the user's own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torchrl.envs.utils import check_env_specs

from mipi_pl import spec as keys
from mipi_pl.cli import main
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.conformance import examine
from mipi_pl.run import own_folder
from mipi_pl.run.api import load_policy
from mipi_pl.run.compose import compose
from mipi_pl.utils.errors import UserError

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "own_environment"
WORLDS = [("cover", "Cover", "numpy"), ("spread", "spread", "mpe2"), ("dispersion", "Dispersion", "vmas")]
EXAMPLES = [*WORLDS, ("foraging", "foraging", "lbforaging"), ("warehouse", "warehouse", "rware")]


def make(module: str, name: str, needs: str, monkeypatch: pytest.MonkeyPatch, **changes: object) -> EntityEnv:
    pytest.importorskip(needs, reason=f"{needs} is not installed")
    monkeypatch.syspath_prepend(str(FOLDER))
    world = getattr(import_module(module), name)
    env: EntityEnv = world(**{"team_sizes": [2, 4], "capacity": 4, "num_envs": 3, **changes})
    return env


@pytest.mark.parametrize(("module", "name", "needs"), WORLDS)
def test_a_world_of_another_library_keeps_the_contract(
    module: str, name: str, needs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = make(module, name, needs, monkeypatch)
    check_env_specs(env, seed=0)
    before = torch.random.get_rng_state()
    env.reset()
    assert torch.equal(torch.random.get_rng_state(), before)  # it belongs to learning
    td = env.rollout(5)
    size = torch.tensor([2, 4])[td[keys.COMPOSITION].squeeze(-1)]
    assert torch.equal(td[keys.PRESENT].sum(-1), 2 * size)
    # Agents move, landmarks and food stay where they are.
    places = td[keys.ENTITIES][..., 1:3]
    assert (places[:, 0, 4:] - places[:, -1, 4:]).abs().max() < 1e-5
    assert (places[:, 0, :2] != places[:, -1, :2]).any()


@pytest.mark.parametrize(("module", "name", "needs"), WORLDS)
def test_a_world_of_another_library_goes_on_where_it_was_saved(
    module: str, name: str, needs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env, other = (make(module, name, needs, monkeypatch, seed=seed) for seed in (0, 1))
    td = env.rollout(3)[:, -1]["next"]
    td[keys.ACTION] = td[keys.ACTION_MASK].long().cumsum(-1).argmax(-1)
    other.set_extra_state(env.get_extra_state())
    expected, found = (e.step(td.clone())["next"] for e in (env, other))
    assert torch.equal(expected[keys.ENTITIES], found[keys.ENTITIES])
    assert torch.equal(expected["reward"], found["reward"])


@pytest.mark.parametrize(("module", "name", "needs"), EXAMPLES)
def test_every_example_passes_its_checks(module: str, name: str, needs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make(module, name, needs, monkeypatch).close()
    make_env = partial(getattr(import_module(module), name), team_sizes=[2, 4], capacity=4)
    checks = examine(make_env, seconds=1.0)
    assert [check for check in checks if not check.passed] == []
    with closing(make_env(num_envs=1, seed=0)) as env:
        env.reset()
        assert len(env.scene(0).bodies) >= 2


@pytest.mark.parametrize("module", ["spread", "foraging", "warehouse"])
def test_a_package_that_is_missing_is_named_in_one_line(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("mpe2", "lbforaging", "lbforaging.foraging", "rware", "rware.warehouse"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main(["check-env", "--config-dir", str(FOLDER), f"env={module}"]) == 2
    told = capsys.readouterr().err
    assert "needs its package: pip install " in told
    assert len(told.splitlines()) == 1


def test_the_document_shows_the_first_example_and_its_config() -> None:
    text = (FOLDER.parent.parent / "docs" / "own_environment.md").read_text(encoding="utf-8")
    for path in (FOLDER / "cover.py", FOLDER / "env" / "cover.yaml", FOLDER / "warehouse.py"):
        assert path.read_text(encoding="utf-8").rstrip() in text, path.name


def test_at_most_sixty_lines_bring_a_world_in() -> None:
    for module, _, _ in EXAMPLES:
        assert len((FOLDER / f"{module}.py").read_text(encoding="utf-8").splitlines()) <= 60


def test_a_world_outside_the_repository_is_trained_on_and_evaluated(tmp_path: Path) -> None:
    pytest.importorskip("mpe2", reason="mpe2 is not installed")
    small = ["debug=tiny", "held_out.team_sizes=[6]", "env.max_steps=3", "held_out.episodes=2"]
    assert main(["train", "--config-dir", str(FOLDER), "env=spread", *small, f"output_dir={tmp_path}"]) == 0
    # Another process does not know the folder, and the checkpoint does not decide which code is run.
    checkpoint = tmp_path / "latest" / "checkpoints" / "last.ckpt"
    command = [sys.executable, "-c", "from mipi_pl.cli import main; raise SystemExit(main())", "eval", str(checkpoint)]
    done = subprocess.run(
        [*command, "held_out.episodes=2", "held_out.team_sizes=[]", "--config-dir", str(FOLDER)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


GAME = """\
from mipi_pl.envs.matrix import MatrixGame


class MyGame(MatrixGame):
    pass
"""


def own_run(root: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A folder with a world and a run stopped in that world; then the module is forgotten, as in another process."""
    folder = root / "my worlds"
    (folder / "env").mkdir(parents=True)
    (folder / "my_game.py").write_text(GAME, encoding="utf-8")
    text = (Path(__file__).resolve().parent.parent / "configs" / "env" / "matrix_game.yaml").read_text(encoding="utf-8")
    changed = text.replace("mipi_pl.envs.matrix.MatrixGame", "my_game.MyGame")
    assert changed != text
    (folder / "env" / "my_game.yaml").write_text(changed, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        options = ["experiment=matrix_game", "env=my_game", "debug=tiny", f"output_dir={outputs}"]
        assert main(["train", "--config-dir", str(folder), *options]) == 0
    (run,) = outputs.glob("*__*/*")
    (run / "results.json").unlink()
    forget_module()
    return folder, run


def forget_module() -> None:
    sys.modules.pop("my_game", None)


def test_a_checkpoint_does_not_say_where_code_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = own_run(tmp_path, tmp_path / "outputs", monkeypatch)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(folder)  # the working folder changes nothing
    last = str(run / "checkpoints" / "last.ckpt")
    commands = [
        ["eval", last, "held_out.episodes=2"],
        ["watch", last, "--episodes", "1", "--format", "html"],
        ["resume", str(run)],
    ]
    for command in commands:
        capsys.readouterr()
        assert main(command) == 2
        told = capsys.readouterr().err
        assert "needs my_game.MyGame from" in told
        assert told.endswith(f"add to the command: --config-dir '{folder}'\n")
        assert len(told.splitlines()) == 1
    with pytest.raises(UserError, match="needs my_game"):
        load_policy(last)
    assert "my_game" not in sys.modules
    assert str(folder) not in sys.path
    assert main(["eval", last, "--config-dir", "nowhere"]) == 2
    assert "--config-dir must be an existing folder" in capsys.readouterr().err
    for command in commands:
        assert main([*command, "--config-dir", str(folder)]) == 0
        forget_module()
        sys.path.remove(str(folder))
    load_policy(last, config_dir=folder)
    forget_module()


def test_a_checkpoint_in_the_folder_itself_needs_no_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, run = own_run(tmp_path, tmp_path / "my worlds" / "outputs", monkeypatch)
    monkeypatch.setattr(sys, "path", [*sys.path])
    load_policy(run / "checkpoints" / "last.ckpt")
    assert str(folder) in sys.path
    forget_module()


@pytest.mark.parametrize("shared", ["/", "~", "tmp", "."])
def test_a_folder_with_files_of_many_origins_does_not_vouch_for_a_checkpoint(
    shared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    folder = {"~": str(tmp_path / "home"), "tmp": str(tmp_path)}.get(shared, shared)
    assert not own_folder._contains(Path(folder), tmp_path / "home" / "run" / "last.ckpt")
    assert own_folder._contains(tmp_path / "home" / "run", tmp_path / "home" / "run" / "last.ckpt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config-dir", "nowhere", "env=spread"],
            "--config-dir must be an existing folder with your own configs, got nowhere",
        ),
        (["env=sz", "--config-dir"], "--config-dir must be an existing folder with your own configs, got nothing"),
        (["config_dir=nowhere"], "config_dir must be an existing folder with your own configs, got nowhere"),
        ([f"--config-dir={FOLDER}", "env=nothing"], "env can be: "),
    ],
)
def test_a_folder_or_world_that_is_not_there_is_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1


def test_the_folder_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = tmp_path / "Jörg's worlds, a=b (old)"
    (folder / "env").mkdir(parents=True)
    configs = Path(__file__).resolve().parent.parent / "configs"
    (folder / "env" / "mine.yaml").write_text((configs / "env" / "matrix_game.yaml").read_text(encoding="utf-8"))
    for way in (["--config-dir", str(folder)], [f"-cd={folder}"], [f"config_dir={folder}"]):
        config = compose([*way, "env=mine"])
        assert (config.run.environment, config.config_dir) == ("mine", str(folder))
        assert main(["train", *way, "env=mine", "--cfg", "job"]) == 0


def test_the_folder_may_have_a_package_of_the_name_of_one_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "__init__.py").touch()
    net = "from mipi_pl.models.agent import EntityAgent\n\n\nclass MyNet(EntityAgent):\n    pass\n"
    (folder / "models" / "mynet.py").write_text(net, encoding="utf-8")
    # The root of a checkout has a folder of this name, too; the installed program is not found through the path.
    root = Path(__file__).resolve().parent.parent
    monkeypatch.setattr(sys, "path", [path for path in sys.path if Path(path).resolve() != root])
    mine = ["--config-dir", str(folder)]
    small = ["experiment=matrix_game", "debug=tiny", f"output_dir={tmp_path}"]
    try:
        assert main(["train", *mine, *small, "algorithm.agent._target_=models.mynet.MyNet"]) == 0
        last = tmp_path / "latest" / "checkpoints" / "last.ckpt"
        assert main(["eval", str(last), *mine, "held_out.episodes=2"]) == 0
        assert type(load_policy(last, config_dir=folder).actor.agent).__name__ == "MyNet"
    finally:
        for name in ("models", "models.mynet"):
            sys.modules.pop(name, None)


def test_settings_of_the_folder_can_be_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    for group, alpha in (("tuned/algorithm", 0.25), ("experiment/learner", 0.75)):
        file = tmp_path / group / "own" / "mine.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(f"# @package _global_\nalgorithm: {{alpha: {alpha}}}\n", encoding="utf-8")
        config = compose([f"config_dir={tmp_path}", f"{group}=own/mine"])
        assert config.algorithm.alpha == alpha
    with pytest.raises(UserError, match=r"no configs/tuned/algorithm/own/my\.yaml; .* can be: .*own/mine"):
        compose([f"config_dir={tmp_path}", "tuned/algorithm=own/my"])
    with pytest.raises(UserError, match=r"no configs/tuned/algorithm/own/mine\.yaml"):
        compose(["tuned/algorithm=own/mine"])


def test_other_libraries_get_a_world_of_the_users_own() -> None:
    from mipi_pl.pettingzoo import parallel_env
    from mipi_pl.torchrl import group_env

    words = ("env=cover", f"config_dir={FOLDER}")
    env = parallel_env(*words)
    assert len(env.possible_agents) == 6
    assert env.metadata["name"] == "cover_v0"
    env.close()
    assert group_env(*words, num_envs=2).rollout(2)["next", "agents", "reward"].shape == (2, 2, 6, 1)
