"""Every config file composes, matches the signatures of its targets, and runs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import hydra.utils
import pytest
from omegaconf import OmegaConf

from mipi_pl.cli import main
from mipi_pl.run.build import build
from mipi_pl.run.compose import compose
from mipi_pl.run.config import check_train, resolve
from mipi_pl.run.signatures import check_node
from mipi_pl.utils.errors import UserError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
GROUPS = sorted(folder.name for folder in CONFIGS.iterdir() if folder.is_dir() and not folder.name.startswith("_"))
# Parts of an algorithm are chosen for their place in it.
PLACE = {"optimizer": "optimizer@algorithm.critic_optimizer", "mixer": "mixer@algorithm.mixer"}
# Episodes of full length would make hours of these tests; the matrix game has one step.
SHORT = "env.episode_limit=12"
BARE = ["held_out.baselines=[]", "picture._target_=crash.no_picture"]
ALL = {"train/gradient_norm/critic", "collect/return", "speed/frames_per_s", "speed/updates_per_s", "frames"}
VALUES = {*ALL, "train/loss/td", "train/td_error", "train/mixer/weight", "collect/epsilon"}
POLICY = {"train/loss/policy", "train/policy/entropy", "train/gradient_norm/policy"}
MARGINAL = {"train/loss/marginal", "train/policy/kl_to_marginal", "train/gradient_norm/marginal"}
LOGGED = {  # what an algorithm computes reaches metrics.csv, and so every logger
    "mipi": VALUES | POLICY | MARGINAL,
    **dict.fromkeys(("value", "entropy", "alpha_infinity"), VALUES | POLICY),
    **dict.fromkeys(("vdn", "aqmix", "refil"), VALUES),
    "collaq": VALUES | {"train/loss/mara"},
    "mappo": ALL | POLICY | {"train/loss/value"},
    "mipi_ppo": ALL | POLICY | MARGINAL | {"train/loss/value"},
}
CHOICES = [(group, path.stem) for group in GROUPS for path in sorted((CONFIGS / group).glob("*.yaml"))]


def names(group: str) -> list[str]:
    return [name for choice, name in CHOICES if choice == group]


@cache
def without_names(*overrides: str) -> dict[str, Any]:
    """The config without the part that repeats the overrides; read it, do not change it."""
    return {key: value for key, value in resolve(compose(overrides)).items() if key not in ("run", "logger")}


def targets(node: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every node with a ``_target_``."""
    if isinstance(node, dict):
        below = [found for key, value in node.items() for found in targets(value, f"{path}.{key}")]
        return [(path, node), *below] if "_target_" in node else below
    if isinstance(node, list):
        return [found for place, value in enumerate(node) for found in targets(value, f"{path}[{place}]")]
    return []


@pytest.mark.parametrize(("group", "name"), CHOICES, ids=lambda value: value)
def test_every_config_is_valid_and_every_target_in_it_binds_to_its_signature(group: str, name: str) -> None:
    config = resolve(compose([f"{PLACE.get(group, group)}={name}"]))
    check_train(config)
    for path, node in targets(config):
        assert callable(hydra.utils.get_object(node["_target_"])), path
        check_node(node, path)


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.relative_to(CONFIGS).as_posix())
def test_every_config_begins_with_a_comment_that_says_what_it_is(path: Path) -> None:
    comments = [line for line in path.read_text(encoding="utf-8").splitlines()[:3] if "# " in line]
    assert any("@package" not in comment for comment in comments)


# The matrix game needs its experiment, a map has no other team sizes: the documented commands train both.
# The fixed maps train as the families do; the packages of SMAC are played in tests/envs/starcraft2.
TRAINED = [name for name in names("env") if name != "matrix_game" and not name.startswith(("map_", "smac"))]


@pytest.mark.parametrize("name", TRAINED)
def test_every_environment_trains(name: str, tmp_path: Path) -> None:
    assert main(["train", f"env={name}", "debug=tiny", SHORT, BARE[1], f"output_dir={tmp_path}"]) == 0


# `full` is `cpu` with another number of frames, and `quickstart` is the same as `cpu`: see test_protocols.py.
@pytest.mark.slow
@pytest.mark.parametrize("experiment", [name for name in names("experiment") if name not in ("full", "quickstart")])
@pytest.mark.parametrize("algorithm", names("algorithm"))
def test_every_algorithm_trains_in_every_experiment_and_logs_what_it_has(
    algorithm: str, experiment: str, tmp_path: Path
) -> None:
    chosen = [f"algorithm={algorithm}", f"experiment={experiment}", f"output_dir={tmp_path}", *BARE]
    short = {"matrix_game": [], "small": ["env=matrix_game"]}.get(experiment, [SHORT])  # small is for any world
    often = ["trainer.log_every_n_steps=1", "++callbacks.collection.every_updates=1"]
    assert main(["train", *chosen, "debug=tiny", *short, *often]) == 0
    columns = (tmp_path / "latest" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert LOGGED[algorithm] - set(columns) == set()


def test_the_small_experiment_has_no_key_of_a_certain_world() -> None:
    for path in [*CONFIGS.rglob("small.yaml"), *CONFIGS.glob("tuned/*/small/*.yaml")]:
        keys = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(keys, dict)
        assert {"env", "picture"} & set(keys) == set(), path


def test_settings_are_those_of_the_experiment_unless_others_are_chosen() -> None:
    def lr(*overrides: str) -> float:
        return float(compose(["algorithm=mipi", *overrides]).algorithm.critic_optimizer.lr)

    plain = lr()
    assert lr("experiment=quickstart") == 1e-3 != plain
    assert lr("experiment=matrix_game") == 3e-4
    assert lr("experiment=quickstart", "tuned=matrix_game") == 3e-4
    for none in ("~tuned", "tuned=null", "tuned=none"):
        assert lr("experiment=quickstart", none) == plain
    for same in ("experiment=null", "~experiment", "~tuned"):
        assert without_names(same) == without_names()


@pytest.mark.parametrize("name", ["smac", *(name for name in names("env") if name.startswith("map_"))])
def test_a_world_with_a_single_team_is_evaluated_on_no_other_size(name: str) -> None:
    for experiment in ([], ["experiment=paper"]):
        assert compose([f"env={name}", *experiment]).held_out.team_sizes == []
        assert compose([f"env={name}", *experiment, "held_out.team_sizes=[6]"]).held_out.team_sizes == [6]
    assert without_names("env=sz", "teams=null") == without_names("env=sz", "~teams") == without_names("env=sz")


def test_settings_that_do_not_exist_are_refused_with_those_that_do() -> None:
    with pytest.raises(UserError, match=r"no configs/tuned/other.yaml; tuned can be: battles, .*none"):
        compose(["experiment=quickstart", "tuned=other"])
    with pytest.raises(UserError, match=r"no configs/tuned/learner/battles/other.yaml; .*: battles/on_policy, "):
        compose(["experiment=quickstart", "tuned/learner=battles/other"])
    with pytest.raises(UserError, match=r"experiment can be: cpu, full, matrix_game, paper, quickstart, resource_coll"):
        compose(["experiment=resource_collection_cpu"])


def test_the_command_line_wins_over_tuned_files() -> None:
    quickstart = ["experiment=quickstart", "algorithm=value"]
    changed = compose([*quickstart, "optimizer@algorithm.policy_optimizer=rmsprop", "algorithm.gamma=0.5"]).algorithm
    assert changed.gamma == 0.5
    assert changed.policy_optimizer._target_ == "torch.optim.RMSprop"
    assert changed.critic_optimizer._target_ == "torch.optim.Adam"
    other = compose([*quickstart, "optimizers=rmsprop"]).algorithm
    assert {part._target_ for name, part in other.items() if name.endswith("optimizer")} == {"torch.optim.RMSprop"}


@pytest.mark.parametrize(
    "words",
    [
        ["algorithm=mappo", "optimizers=adam"],
        ["algorithm=mipi", "optimizers='rmsprop'"],
        ["algorithm=refil", "optimizers=adam", "optimizer@algorithm.critic_optimizer=rmsprop"],
        ["experiment=quickstart", "algorithm=value", "optimizers=rmsprop"],
    ],
    ids=" ".join,
)
def test_a_choice_of_optimizers_that_the_algorithm_follows_is_accepted(words: list[str]) -> None:
    assert compose(words).algorithm


def test_optimizers_of_ones_own_are_accepted_for_every_algorithm(tmp_path: Path) -> None:
    (tmp_path / "optimizers").mkdir()
    text = "# @package _global_\nalgorithm: {critic_optimizer: {lr: 0.5}}\n"
    (tmp_path / "optimizers" / "mine.yaml").write_text(text, encoding="utf-8")
    composed = compose([f"config_dir={tmp_path}", "algorithm=mappo", "optimizers=mine"])
    assert composed.algorithm.critic_optimizer.lr == 0.5


@pytest.mark.parametrize("name", names("logger"))
def test_every_logger_writes_beside_the_csv(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert main(["train", "experiment=matrix_game", "debug=tiny", f"logger={name}", f"output_dir={tmp_path}"]) == 0
    assert (tmp_path / "latest" / "metrics.csv").stat().st_size > 0
    assert {"csv": True, "tensorboard": "tensorboard", "wandb": "wandb"}[name] is True or (
        tmp_path / "latest" / name
    ).is_dir()


def test_a_callback_whose_name_is_a_number_in_yaml_is_refused_like_any_other() -> None:
    config = resolve(compose(["experiment=matrix_game"]))
    config["callbacks"][7] = 3
    with pytest.raises(UserError, match=r"callbacks\.7 must be a node with a _target_, got 3; known: 7, [a-z]+"):
        check_train(config)


def test_a_dataclass_argument_reaches_the_constructor_unchanged() -> None:
    from mipi_pl.spec import EntitySpec

    spec = EntitySpec(2, 2, 4, 2, 1)
    algorithm = build("algorithm", resolve(compose(["experiment=matrix_game"]))["algorithm"], spec=spec)
    assert algorithm.spec is spec


@pytest.mark.parametrize("name", names("mixer"))
def test_every_mixer_trains(name: str, tmp_path: Path) -> None:
    # Sampled targets take mixers that are not linear as well.
    chosen = [f"mixer@algorithm.mixer={name}", "algorithm.target=sampled", f"output_dir={tmp_path}"]
    assert main(["train", "env=marines", "debug=tiny", SHORT, *BARE, *chosen]) == 0


@pytest.mark.parametrize("algorithm", ["mipi", "refil", "mipi_ppo"])
def test_without_imaginary_teams_no_callback_needs_to_draw_them(algorithm: str, tmp_path: Path) -> None:
    off = {"mipi": ["imaginary_weight=0", "marginal_teams=actual"], "refil": ["imaginary_weight=0"]}
    chosen = [f"algorithm.{word}" for word in off.get(algorithm, ["marginal_teams=actual"])]
    game = ["experiment=matrix_game", f"algorithm={algorithm}", "debug=tiny", *BARE, f"output_dir={tmp_path}"]
    assert main(["train", *game, *chosen, "~callbacks.imaginary_partition"]) == 0
