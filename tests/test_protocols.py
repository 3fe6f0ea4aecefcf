"""Experiments and learner settings: which learner uses which settings, and which keys an ablation changes."""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from composed_configs import leaves

from mipi_pl.run.compose import compose
from mipi_pl.run.config import check_train, resolve

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
KINDS = {
    "policy_iteration": ["mipi", "value", "entropy", "alpha_infinity"],
    "q_learning": ["refil", "aqmix", "vdn", "collaq"],
    "on_policy": ["mappo", "mipi_ppo"],
}
ALGORITHMS = sorted(path.stem for path in (CONFIGS / "algorithm").glob("*.yaml"))
PROTOCOLS = [
    *([], ["experiment=quickstart"], ["experiment=matrix_game"], ["experiment=resource_collection"]),
    ["experiment=small"],
    *([f"experiment={name}", f"env={env}"] for name in ("cpu", "full", "paper") for env in ("sz", "csz", "mmm")),
    ["experiment=paper", "env=resource_collection"],
]
DECLARED = {  # what an algorithm changes of another
    ("mipi", "value"): {"algorithm.regularizer"},
    ("mipi", "entropy"): {"algorithm.regularizer"},
    ("mipi", "alpha_infinity"): {"algorithm.regularizer", "algorithm.agent.own_entity_only"},
    ("refil", "aqmix"): {"algorithm.imaginary_weight"},
    ("mappo", "mipi_ppo"): {
        "algorithm._target_",
        "algorithm.regularizer",
        "algorithm.alpha",
        "algorithm.priced",
        "algorithm.marginal_teams",
        "algorithm.entropy_bonus",
        "algorithm.marginal",
        "algorithm.marginal_epochs",
        "algorithm.marginal_optimizer",
    },
}
FILES = sorted(
    path.relative_to(CONFIGS).as_posix().removesuffix(".yaml")
    for path in [*(CONFIGS / "tuned").rglob("*.yaml"), *(CONFIGS / "experiment" / "learner").rglob("*.yaml")]
)


@cache
def composed(*overrides: str) -> dict[str, Any]:
    """The config of a run, without the texts that repeat the overrides; read it, do not change it."""
    config = resolve(compose(overrides))
    config["run"] |= {"overrides": [], "changes": "", "setting": ""}
    return config


def changed(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """Dotted keys in which configs differ."""
    left, right = leaves(one), leaves(other)
    found = {key for key in left | right if key not in left or key not in right or left[key] != right[key]}
    return {key for key in found if not key.startswith(("run.", "logger."))}  # they have the algorithm in names


def test_every_experiment_is_among_the_protocols() -> None:
    named = {word.removeprefix("experiment=") for words in PROTOCOLS for word in words if word.startswith("exp")}
    assert named == {path.stem for path in (CONFIGS / "experiment").glob("*.yaml")}


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=" ".join)
@pytest.mark.parametrize(("whole", "part"), DECLARED)
def test_an_ablation_differs_in_its_declared_keys_alone(whole: str, part: str, protocol: list[str]) -> None:
    declared = DECLARED[whole, part]
    differences = changed(*(composed(*protocol, f"algorithm={name}") for name in (whole, part)))
    # A network or an optimizer that one of them lacks counts as one.
    differences = {next((key for key in declared if f"{leaf}.".startswith(f"{key}.")), leaf) for leaf in differences}
    # Settings may make a declared key alike in both, as the entropy bonus in Resource Collection; not the regulariser
    assert differences <= declared
    assert ("algorithm.regularizer" in differences) == ("algorithm.regularizer" in declared)
    assert whole != "mipi" or differences == declared


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=" ".join)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_is_valid_in_every_protocol(algorithm: str, protocol: list[str]) -> None:
    config = composed(*protocol, f"algorithm={algorithm}")
    check_train(config)
    assert config["run"]["algorithm"] == algorithm
    assert config["env"].get("enemy_delta", 0) == 0


@pytest.mark.parametrize("settings", ["battles", "matrix_game", "resource_collection"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_has_the_settings_of_its_kind(algorithm: str, settings: str) -> None:
    (kind,) = (kind for kind, names in KINDS.items() if algorithm in names)
    chosen = [f"tuned={settings}", f"algorithm={algorithm}"]
    config = composed(*chosen)
    assert config == composed(*chosen, f"learner={kind}")
    text = (CONFIGS / "tuned" / "learner" / settings / f"{kind}.yaml").read_text(encoding="utf-8")
    wanted = leaves({key: value for key, value in yaml.safe_load(text).items() if key != "defaults"})
    assert {key: leaves(config).get(key) for key in wanted} == wanted


@pytest.mark.parametrize("file", [file for file in FILES if file != "tuned/none"])
def test_no_file_of_settings_says_nothing(file: str) -> None:
    group, *below = file.split("/")
    if len(below) == 1:
        layers = ("~tuned/learner", "~tuned/algorithm", "~tuned/task")
        assert changed(composed(f"{group}={below[0]}", *layers), composed(*layers))
        return
    layer, settings, *inner = below
    by_kind = [f"algorithm={KINDS[inner[0]][0]}"] if inner[0] in KINDS else []
    chosen = {
        "learner": by_kind,
        "algorithm": [f"algorithm={inner[0]}"],
        "task": [*by_kind, f"env={'/'.join(inner[1:])}"],
    }[layer]
    words = [f"{group}={settings}", *chosen]
    assert changed(composed(*words), composed(*words, f"~{group}/{layer}")), "nobody takes it, or it says nothing"


def test_no_settings_are_the_defaults() -> None:
    assert yaml.safe_load((CONFIGS / "tuned" / "none.yaml").read_text(encoding="utf-8")) is None
    assert composed("tuned=none") == composed()


def test_the_quickstart_trains_mipi_ppo_unless_another_algorithm_is_asked_for() -> None:
    assert composed("experiment=quickstart")["run"]["algorithm"] == "mipi_ppo"
    for words in (["experiment=quickstart", "algorithm=refil"], ["algorithm=refil", "experiment=quickstart"]):
        config = composed(*words)
        assert config["run"]["name"] == "sz__refil__0"
        assert config["datamodule"]["_target_"] == "mipi_pl.datamodules.replay.ReplayDataModule"
        assert "target_update" in config["callbacks"]


def test_the_full_protocol_is_the_small_one_with_another_budget() -> None:
    for algorithm, env in product(ALGORITHMS, ("sz", "csz", "mmm")):
        words = (f"env={env}", f"algorithm={algorithm}")
        cpu, full = (composed(f"experiment={name}", *words) for name in ("cpu", "full"))
        assert (cpu["total_frames"], full["total_frames"]) == (1_000_000, 10_000_000)
        frame_counts = {key for key in changed(cpu, full) if key.endswith(("total_frames", ".every_frames"))}
        assert frame_counts == changed(cpu, full)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_quickstart_is_the_small_protocol(algorithm: str) -> None:
    word = f"algorithm={algorithm}"
    assert changed(composed("experiment=quickstart", word), composed("experiment=cpu", "env=sz", word)) == set()


# Section 5 and appendix B of the paper, written out, so that no default can change them.
PAPER = """
total_frames: 10_000_000
algorithm:
  gamma: 0.99
  td_lambda: 0.0
  truncation_is_terminal: true
  gradient_clip: 10.0
  critic_optimizer: {_target_: torch.optim.RMSprop, lr: 5.0e-4, alpha: 0.99, eps: 1.0e-5}
  agent: {width: 128, heads: 4, hidden: 64, own_path: false, pair_units: 0, normalize: false}
  mixer: {width: 128, heads: 4, mixing: 32, pool: slots}
datamodule:
  num_envs: 8
  capacity: 5000
  batch_size: 32
  updates_per_episode: 1.0
  epsilon_start: 1.0
  epsilon_end: 0.05
  epsilon_frames: 500_000
  epsilon_hold: 1
callbacks:
  target_update: {every_episodes: 200}
  learning_rate: {final_share: 1.0}
  generalization: {episodes: 160, team_sizes: [6, 7, 8]}
held_out: {team_sizes: [6, 7, 8], episodes: 160}
env: {team_sizes: [3, 4, 5], capacity: 8}
"""
MIPI = """
algorithm:
  target: sampled
  alpha_i: null
  policy_divergence: reverse
  policy_steps: 1
  policy_moves_trunk: false
  policy_optimizer: {_target_: torch.optim.RMSprop, lr: 5.0e-4, alpha: 0.99, eps: 1.0e-5}
  marginal_optimizer: {_target_: torch.optim.RMSprop, lr: 5.0e-4, alpha: 0.99, eps: 1.0e-5}
  marginal: {width: 128, hidden: 64, normalize: false}
  mixer: {linear: true}
"""
BATTLE = """
env:
  enemies: null
  enemy_delta: 0
  episode_limit: 150
  draw: compositions
  target_actions: tags
  random_tags: true
  sight_range: 9.0
  target_range: 6.0
  best_return: 20.0
  reward_scale: largest
"""
RESOURCES = "env: {episode_limit: 145, sight_range: 0.2, reward_scale: 1.0, position_unit: 1.0}"
SUB_GROUPS = "iterations: 4, marginal_teams: imaginary, imaginary_weight: 0.5"
TASKS = {
    "sz": (BATTLE, f"algorithm: {{alpha: 0.03, {SUB_GROUPS}}}"),
    "csz": (BATTLE, f"algorithm: {{alpha: 0.03, {SUB_GROUPS}}}"),
    "mmm": (BATTLE, f"algorithm: {{alpha: 0.1, {SUB_GROUPS}}}"),
    "starcraft2/mmm": (BATTLE, f"algorithm: {{alpha: 0.1, {SUB_GROUPS}}}"),
    "resource_collection": (
        RESOURCES,
        "algorithm: {alpha: 0.05, iterations: 1, marginal_teams: actual, imaginary_weight: 0.0}",
    ),
}
REGULARIZERS = {"mipi": "mutual_information", "entropy": "entropy", "value": "none", "alpha_infinity": "none"}


def written(*texts: str) -> dict[str, object]:
    return {key: value for text in texts for key, value in leaves(yaml.safe_load(text)).items()}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("algorithm", REGULARIZERS)
def test_the_papers_protocol_has_the_papers_numbers(algorithm: str, task: str) -> None:
    config = leaves(composed("experiment=paper", f"env={task}", f"algorithm={algorithm}"))
    wanted = written(PAPER, MIPI, *TASKS[task], f"algorithm: {{regularizer: {REGULARIZERS[algorithm]}}}")
    assert {key: config.get(key, "absent") for key in wanted} == wanted


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("algorithm", "imaginary"), [("refil", 0.5), ("aqmix", 0.0), ("collaq", None)])
def test_the_papers_baselines_have_the_papers_numbers(algorithm: str, imaginary: float | None, task: str) -> None:
    config = leaves(composed("experiment=paper", f"env={task}", f"algorithm={algorithm}"))
    wanted = written(PAPER, TASKS[task][0], "algorithm: {mixer: {linear: false}}")
    assert {key: config.get(key, "absent") for key in wanted} == wanted
    assert config.get("algorithm.imaginary_weight") == imaginary
