"""Policies as safetensors files: exported ones play like their checkpoints; shipped ones are small and play."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import zeros

from mipi_pl.cli import main
from mipi_pl.run.build import build, environment_factory, one_environment
from mipi_pl.storage import shipped, weights
from mipi_pl.storage.checkpoint_file import read_checkpoint, restore
from mipi_pl.utils.errors import UserError

MOST_BYTES = 1_000_000


@pytest.fixture(scope="module")
def exported(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "mine.safetensors"
    assert main(["export", str(finished_run / "checkpoints" / "last.ckpt"), "--output", str(path)]) == 0
    return path


def results(folder: Path) -> dict[str, object]:
    (path,) = folder.rglob("results.json")
    found: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return {key: found[key] for key in ("training", "held_out", "seed")}


def test_an_exported_policy_plays_exactly_as_its_checkpoint(exported: Path, finished_run: Path, tmp_path: Path) -> None:
    last = finished_run / "checkpoints" / "last.ckpt"
    for name, source in (("one", exported), ("other", last)):
        assert main(["eval", str(source), f"output_dir={tmp_path / name}", "held_out.episodes=8"]) == 0
    assert results(tmp_path / "one") == results(tmp_path / "other")


def test_it_says_of_the_run_what_a_reader_needs_and_nothing_of_the_state_of_training(exported: Path) -> None:
    state, about = weights.read(exported)
    assert set(about) == {"config", *weights.KEPT}
    assert set(about["config"]) == set(weights.PLAYING)
    assert "folder" not in about["config"]["run"], "a folder of the machine that trained it"
    assert "overrides" not in about["config"]["run"], "they may name folders, too"
    assert about["config"]["run"]["environment"] == "matrix_game"
    assert state.keys() == read_checkpoint(exported)[0]["state_dict"].keys()


def test_target_networks_are_left_out_and_become_copies_again(exported: Path, finished_run: Path) -> None:
    all_names = read_checkpoint(finished_run / "checkpoints" / "last.ckpt")[0]["state_dict"].keys()
    content, config = read_checkpoint(exported)
    left_out = all_names - content["state_dict"].keys()
    assert left_out == {name for name in all_names if name.startswith(("target_agent.", "target_mixer."))} != set()
    with one_environment(environment_factory(config["env"])) as env:
        algorithm = build("algorithm", config["algorithm"], spec=env.entity_spec)
    restore(algorithm, content, exported)
    state = algorithm.state_dict()
    for name in left_out:
        assert state[name].equal(content["state_dict"][name.removeprefix("target_")]), name


def test_other_weights_that_are_missing_are_refused(exported: Path) -> None:
    content, config = read_checkpoint(exported)
    del content["state_dict"]["agent.trunk.recurrence.gru.weight_hh_l0"]
    with one_environment(environment_factory(config["env"])) as env:
        algorithm = build("algorithm", config["algorithm"], spec=env.entity_spec)
    with pytest.raises(UserError, match="do not fit the networks of this version"):
        restore(algorithm, content, exported)


def test_nothing_is_overwritten(exported: Path, finished_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = exported.read_bytes()
    assert main(["export", str(finished_run / "checkpoints" / "last.ckpt"), "--output", str(exported)]) == 2
    assert "exists already; name another file" in capfd.readouterr().err
    assert exported.read_bytes() == before


def test_a_file_that_cannot_be_written_is_refused_in_one_line(
    finished_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    last = str(finished_run / "checkpoints" / "last.ckpt")
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    assert main(["export", last, "--output", str(tmp_path / "file" / "a.safetensors")]) == 2
    assert "cannot write" in capfd.readouterr().err
    assert main(["export", last, "--output", str(tmp_path / "a.ckpt")]) == 2
    assert "must end in .safetensors" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_names_other_classes_is_neither_written_nor_used(
    exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state, about = weights.read(exported)
    about["config"]["algorithm"]["agent"] = {"_target_": "subprocess.run", "args": ["touch", str(tmp_path / "trace")]}
    with pytest.raises(UserError, match=r"a class of your own, subprocess\.run"):
        weights.write(tmp_path / "bad.safetensors", state, about)
    path = tmp_path / "worse.safetensors"
    save_file(state, path, {"mipi": json.dumps(about)})
    assert main(["eval", str(path)]) == 2
    assert "names subprocess.run, which is not a class of this program" in capfd.readouterr().err
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "target",
    [
        "mipi_pl.models.fused.torch.os.system",
        "mipi_pl.models.fused.torch.save",
        "mipi_pl.models.packing.torch.save",
        "mipi_pl.models.fused.torch",
        "mipi_pl.envs.nothing.Env",
        "mipi_pl.algorithms..mipi.MIPI",
        "models",
        "mipi_pl.models",
        "torch.optim.lr_scheduler.LambdaLR",
        "modelsofmine.Agent",
        3,
        ["mipi_pl.models.agent.EntityAgent"],
    ],
)
def test_what_a_module_of_ours_imports_is_not_ours(target: object, exported: Path, tmp_path: Path) -> None:
    state, about = weights.read(exported)
    about["config"]["algorithm"]["marginal"] = {"_target_": target}
    path = tmp_path / "gift.safetensors"
    save_file(state, path, {"mipi": json.dumps(about)})
    with pytest.raises(UserError, match="which is not a class of this program; the file is not used"):
        weights.read(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": "${oc.create:{_target_:builtins.print,_args_:[EXECUTED]}}"},
        {"${oc.env:HOME}": 1},
        {"betas": [0.9, {"x": "a ${oc.env:HOME}"}]},
    ],
)
def test_an_interpolation_is_neither_written_nor_used(
    wrong: dict[str, object], exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state, about = weights.read(exported)
    about["config"]["algorithm"]["critic_optimizer"].update(wrong)
    path = tmp_path / "gift.safetensors"
    save_file(state, path, {"mipi": json.dumps(about)})
    assert main(["eval", str(path)]) == 2
    told = capfd.readouterr()
    assert "which is not a class of this program; the file is not used" in told.err
    assert "EXECUTED" not in told.out
    with pytest.raises(UserError):
        weights.write(tmp_path / "bad.safetensors", state, about)


def test_a_folder_of_modules_is_not_taken_from_a_file(exported: Path, tmp_path: Path) -> None:
    state, about = weights.read(exported)
    about["config"]["config_dir"] = str(tmp_path)
    path = tmp_path / "gift.safetensors"
    save_file(state, path, {"mipi": json.dumps(about)})
    assert set(weights.read(path)[1]["config"]) == set(weights.PLAYING)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"torn", "damaged or not a safetensors file"),
        (None, "not written by `mipi export`: it has no config and provenance"),
    ],
)
def test_another_file_is_refused(
    content: bytes | None, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.safetensors"
    if content is None:
        save_file({"weight": zeros(2)}, path)
    else:
        path.write_bytes(content)
    assert main(["eval", str(path)]) == 2
    assert message in capfd.readouterr().err


def test_a_name_that_nothing_has_is_refused_with_those_that_there_are(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "quickstrat"]) == 2
    told = capfd.readouterr().err
    assert "quickstart, " in told
    assert all(name in told for name in shipped.names())


def test_policies_are_shipped() -> None:
    assert "quickstart" in shipped.names()


@pytest.mark.parametrize("name", shipped.names())
def test_a_shipped_policy_is_small_and_fits_the_networks_of_today(name: str) -> None:
    path = shipped.located(Path(name))
    assert path.stat().st_size < MOST_BYTES
    assert shipped.is_shipped(path)
    content, config = read_checkpoint(path)
    with one_environment(environment_factory(config["env"])) as env:
        restore(build("algorithm", config["algorithm"], spec=env.entity_spec), content, path)


def test_what_is_made_of_a_shipped_policy_goes_below_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["held_out.episodes=2", "held_out.baselines=[]", "env.team_sizes=[3]"]
    assert main(["eval", "quickstart", *few]) == 0
    assert "outputs/quickstart/eval/" in capfd.readouterr().out
    assert len(list(tmp_path.glob("outputs/quickstart/eval/*/results.json"))) == 1


def test_a_policy_file_names_no_folder_to_write_to(finished_run: Path, tmp_path: Path) -> None:
    path = finished_run / "checkpoints" / "last.ckpt"
    content, config = read_checkpoint(path)
    record = {**content["mipi"], "config": {**config, "env": {**config["env"], "replay_dir": str(tmp_path)}}}
    weights.write(tmp_path / "policy.safetensors", content["state_dict"], record)
    _, about = weights.read(tmp_path / "policy.safetensors")
    assert "replay_dir" not in about["config"]["env"]
    assert str(tmp_path) not in str(about["config"])
