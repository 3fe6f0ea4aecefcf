"""Mistakes in the config of a training run: exit code 2, one message that names the mistake, no traceback, no files."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from mipi_pl.cli import main

MISTAKES = [
    (["bogus=1"], "unknown key bogus"),
    (["+bogus=1"], "unknown key bogus"),
    (["algorithm.alhpa=0.1"], "did you mean algorithm.alpha?"),
    (["+env.bogus=1"], "unknown key env.bogus"),
    (["trainer.max_steps=5"], "an argument that no config sets; to set it, write +trainer.max_steps="),
    (["env.num_envs=3"], "unknown key env.num_envs"),
    (["+held_out.sizes=[6]"], "unknown key held_out.sizes"),
    (["+algorithm.critic_optimizer.learning_rate=1"], "unknown key algorithm.critic_optimizer.learning_rate"),
    (["+env.seed=5"], "env.seed cannot be chosen here: it follows from the seed of the run"),
    (["+env.num_envs=5"], "env.num_envs cannot be chosen here: it is num_envs of make_env, and datamodule.num_envs"),
    (["+algorithm.spec=3"], "algorithm.spec cannot be chosen here: it follows from the environment"),
    (["+algorithm.agent.n_features=3"], "algorithm.agent.n_features cannot be chosen here: it follows from the env"),
    (["+algorithm.marginal.targets=[]"], "algorithm.marginal.targets cannot be chosen here: it follows from the env"),
    (["+algorithm.mixer.n_agents=77"], "algorithm.mixer.n_agents cannot be chosen here: it follows from the env"),
    (["algorithm=mappo", "+algorithm.critic.n_entities=16"], "algorithm.critic.n_entities cannot be chosen here: it"),
    (["+algorithm.mixer.n_kind=3"], "unknown key algorithm.mixer.n_kind; known keys: "),
    (["+trainer.callbacks=[]"], "trainer.callbacks cannot be chosen here: add entries to callbacks"),
    (["+trainer.logger=true"], "trainer.logger cannot be chosen here: it is logger=NAME"),
    (["+trainer.default_root_dir=x"], "trainer.default_root_dir cannot be chosen here: it is a folder below output"),
    (["+env.device=meta"], "env: device must be one that PyTorch can use here, got meta, which holds no numbers"),
    (["+env.device=nowhere"], "env: device must be one that PyTorch can use here, got nowhere ("),
    (["+held_out.worlds.x={seed: 3}"], "held_out.worlds.x.seed cannot be chosen here"),
    (["env=nothing"], "there is no configs/env/nothing.yaml"),
    (["experiment=nothing"], "experiment can be: "),
    (["map=3m"], "with env=smac env.map_name=3m, or without the game with env=map_3m"),
    (["env=smac", "map=corridor"], "unknown key map; a map of SMAC is chosen with env=smac env.map_name=corridor"),
    (["env=szz"], "starcraft2/csz, starcraft2/mmm, starcraft2/sz"),
    (
        ["env=starcraft2/sc"],
        "there is no configs/env/starcraft2/sc.yaml; did you mean env=starcraft2/sz? env can be: csz, ",
    ),
    (["algorithm.alpha=high"], "algorithm.alpha must be a number"),
    (["algorithm.alpha=nan"], "algorithm.alpha is NaN"),
    (["env.payoffs.AB=[[1,nan],[0,0]]"], "env.payoffs.AB[0][1] is NaN"),
    (["algorithm.critic_optimizer.lr=-1"], "Invalid learning rate"),
    (["env=3"], "must be a string"),
    (["optimizers=[1,2]"], "optimizers is one choice, such as optimizers=NAME, got optimizers=[1,2]"),
    (
        ["algorithm=mappo", "optimizers=rmsprop"],
        "optimizers=rmsprop changes nothing for algorithm=mappo, whose parts have optimizers of their own; choose them "
        "for each part: optimizer@algorithm.critic_optimizer=rmsprop optimizer@algorithm.policy_optimizer=rmsprop",
    ),
    (["algorithm=mappo", "optimizers=rmsprop", "bogus=1"], "unknown key bogus"),
    (["algorithm=mappo", "algorithm.alpha=0.1"], "algorithm=mappo has no algorithm.alpha: choose algorithm=mipi_ppo"),
    (["algorithm=mappo", "algorithm.policy_optimizer.alpha=0.9"], "unknown key algorithm.policy_optimizer.alpha"),
    (["+env=sz"], "env has a choice already: write env=NAME, without +, to change it"),
    (["env=[sz]"], "env is one choice, such as env=NAME, got env=[sz]"),
    (["logger=[1,2]"], "logger is a name or a list of names, such as logger=[NAME,NAME], got logger=[1,2]"),
    (["total_frames=0"], "total_frames must be at least 1, got 0"),
    (["total_frames=many"], "total_frames must be an integer"),
    (["seed=-1"], "seed must be an integer between"),
    (["callbacks.generalization.seed=-1"], "callbacks.generalization: seed must be a whole number from 0, got -1"),
    (["callbacks.imaginary_partition.seed=-1"], "callbacks.imaginary_partition: seed must be a whole number from 0"),
    (
        ["algorithm.marginal_teams=imaginary", "~callbacks.imaginary_partition"],
        "MIPI learns with imaginary teams and no callback draws them: keep callbacks.imaginary_partition, or set "
        "algorithm.marginal_teams=actual and algorithm.imaginary_weight=0; a callback of your own must set "
        "`adds_partitions = True`",
    ),
    (
        ["algorithm=mipi_ppo", "algorithm.marginal_teams=imaginary", "~callbacks.imaginary_partition"],
        "MIPIPPO learns with imaginary teams and no callback draws them: keep callbacks.imaginary_partition, or set "
        "algorithm.marginal_teams=actual; a callback",
    ),
    (["lost_after_s=4"], "lost_after_s must be at least 5 and at most 604800, got 4"),
    (["lost_after_s=inf"], "lost_after_s must be at least 5 and at most 604800, got inf"),
    (["lost_after_s=1e30"], "lost_after_s must be at least 5 and at most 604800, got 1e+30"),
    (["datamodule.lost_after_s=0.3"], "datamodule.lost_after_s must be at least 5 and at most 604800, got 0.3"),
    (["held_out.team_sizes=[0]"], "held_out.team_sizes must be at least 1"),
    (["held_out.team_sizes=[6,6]"], "names a size twice"),
    (["held_out.team_sizes=6"], "held_out.team_sizes must be a list"),
    (["held_out.worlds={x: {y: 1}}"], "held_out.worlds has no such entry yet; to add one, write +held_out.worlds.NAME"),
    (["+held_out.worlds.x=3"], "held_out.worlds.x must be a mapping of environment arguments"),
    (["++held_out.worlds={7: {team_compositions: [BB]}}"], "each name must be a text, got 7: write it in quotes"),
    (["+held_out.worlds.training.team_compositions=[BB]"], "held_out.worlds.training: an evaluation of this name"),
    (
        ["held_out.team_sizes=[2]", "+held_out.worlds.2.team_compositions=[BB]"],
        "held_out.worlds.2: an evaluation of this name",
    ),
    (["held_out.team_sizes=[6]"], "evaluation '6'"),
    (["held_out.team_sizes=[6]"], "held_out.team_sizes=[] none"),
    (["held_out.episodes=0"], "held_out.episodes must be at least 1"),
    (["held_out.baselines=[random]"], "held_out.baselines: this world has no scripted policies, got"),
    (["held_out.baselines=random"], "held_out.baselines must be a list, each entry a text or null"),
    (["env.team_compositions=[]"], "at least one composition"),
    (["experiment=paper", "env=resource_collection", "held_out.team_sizes=[9]"], "got 9 with capacity 8; raise"),
    (["experiment=resource_collection", "held_out.team_sizes=[11]"], "got 11 with capacity 10; raise capacity"),
    (["experiment=resource_collection_cpu"], "experiment can be: cpu, "),
    (["tuned=quickstart/mipi"], "tuned can be: battles, "),
    (["tuned/algorithm=battles/nothing"], "tuned/algorithm can be: battles/mappo, "),
    (["learner=nothing"], "learner can be: on_policy, policy_iteration, q_learning"),
    (["network.mixer=3"], "network.mixer"),
    (["+network.mixer.widths=3"], "unknown key network.mixer.widths; did you mean network.mixer.width?"),
    (["network.mixer.width=wide"], "network.mixer.width must be an integer, got 'wide'"),
    (["datamodule.num_envs=0"], "num_envs must be at least 1"),
    (["callbacks.generalization.every_frames=0"], "every_frames must be at least 1"),
    (["callbacks.checkpointing=3"], "callbacks.checkpointing must be a node with a _target_"),
    (["+callbacks.mine._target_=mipi_pl.callbacks.nothing.Mine"], "callbacks.mine._target_: cannot import"),
    (["~picture._target_"], "picture needs a _target_"),
    (["picture._target_=mipi_pl.nothing.draw"], "picture._target_: cannot import"),
    (["+picture.bogus=1"], "unknown key picture.bogus"),
    (["trainer.devices=0"], "trainer:"),
    (["+trainer.gradient_clip_val=1"], "algorithm.gradient_clip clips gradients"),
    (["+trainer.accumulate_grad_batches=2"], "the datamodule sets the batch size"),
    (["+trainer.min_steps=20"], "they would keep a run from ending after total_frames; raise total_frames instead"),
    (["+trainer.min_epochs=2"], "trainer.min_steps and trainer.min_epochs are not supported"),
    (["callbacks=[learning,evaluation,run]"], "MIPI has target networks and no callback refreshes them"),
    (["callbacks.generalization.team_sizes=[9]"], "callbacks.generalization: evaluation '9' (team_sizes=[9])"),
    (["output_dir=outputs (1)"], "needs two pairs of quotes: KEY=\"'VALUE'\""),
    (["~callbacks.frame_budget"], "none of them ends training after total_frames: keep callbacks.frame_budget"),
    (["seed=1", "no-equal-sign"], "missing EQUAL"),
    (["-m", "seed=1,2", "algorithm.alpha=0.1,high"], "algorithm.alpha must be a number"),
    # nodes that are replaced by something else
    (["run=1000000000000"], "run must be a mapping, got 1000000000000; to change an entry of it, write run.KEY=..."),
    (["env=null", "~env"], "~env leaves no env; choose another one instead: env=NAME"),
    (["~trainer"], "~trainer leaves no trainer"),
    (["held_out=6"], "held_out must be a mapping, got 6"),
    (["held_out=[6]"], "Error merging override held_out=[6]; it is a list in the place of a mapping"),
    (["~held_out"], "held_out is missing"),
    (["run.name=[1,2,3]"], "run.name must be a text, got [1, 2, 3]"),
    (
        ["run.name=4.10"],
        "run.name must be a text, got 4.1; a text that reads as a number or as true needs two pairs of quotes: "
        "run.name=\"'VALUE'\"",
    ),
    (["run.name={_target_: os.getcwd}"], "run.name must be a text, got {'_target_': 'os.getcwd'}"),
    (["datamodule.collector=${run}", "run=${datamodule.collector}"], "run must be a mapping, got '${datamodule"),
    (
        ["output_dir=${run.name}", "run.name=${output_dir}"],
        "Recursive interpolation detected",
    ),
    (["seed=${oc.decode:'['}"], "the config cannot be resolved: seed: "),
    (["run.name=${hydra:job.name}"], "the config cannot be resolved: run.name: ${hydra:...} has no value here"),
    (["seed=${nothing:1}"], "the config cannot be resolved: seed: Unsupported interpolation type nothing"),
    # choices
    (["algorithm=mappo", "algorithm.regularizer=entropy"], "algorithm=mappo has no algorithm.regularizer: choose alg"),
    (["algorithm=mappo", "+algorithm.alpha=0.1"], "algorithm=mappo has no algorithm.alpha: choose algorithm=mipi_ppo"),
    (["algorithm=mipi_ppo", "+algorithm.gama=0.9"], "unknown key algorithm.gama; did you mean algorithm.gamma?"),
    (["algorithm=mipi_ppo", "algorithm.epochs=many"], "algorithm.epochs must be an integer, got 'many'"),
    (["algorithm=mappo", "mixer=sum"], "mixer cannot be chosen, because no other choice"),
    (["mixer=battle/rules"], "did you mean mixer@algorithm.mixer=...?"),
    # parts of the wrong kind
    (["trainer._target_=builtins.dict"], "trainer._target_ must make a Trainer, got dict"),
    (["datamodule._target_=collections.OrderedDict"], "datamodule._target_ must make a LightningDataModule, got Ord"),
    (["callbacks.progress._target_=builtins.dict"], "callbacks.progress._target_ must make a Callback, got dict"),
    (["+logger.mine._target_=lightning.Trainer"], "logger.mine._target_ must make a Logger, got Trainer"),
    (["algorithm._target_=torch.nn.Linear"], "algorithm._target_ must make an EntityAlgorithm, got Linear"),
    (["env._target_=torch.nn.Linear"], "env._target_ must make an EntityEnv, got Linear"),
    (["algorithm.mixer._target_=torch.nn.Linear"], "algorithm.mixer._target_ must make a Mixer, got Linear"),
    (["algorithm.critic_optimizer._target_=torch.nn.Linear"], "must make an Optimizer, got Linear"),
    (["algorithm.mixer._partial_=false"], "_partial_: true, got a node without _partial_: true"),
    (["picture._target_=typing.Any"], "picture._target_ must be a function of (path, title, evaluations, policies"),
    (["picture={_target_: math.sqrt}"], "unknown key picture.payoffs"),
    (["picture._target_=builtins.print"], "unknown key picture."),
    (
        ["~picture.payoffs", "~picture.trained", "~picture.alpha", "picture._target_=math.sqrt"],
        "picture._target_ must be a function of (path, title, evaluations, policies), got math.sqrt",
    ),
    (["picture._target_=math.pi"], "picture._target_ must name a class or function, got math.pi = 3.14"),
    (["picture._target_=[1]"], "picture._target_ must be the dotted name of a class or function, got [1]"),
    (["total_frames={_target_: os.getcwd}"], "total_frames must be an integer"),
    (["callbacks.checkpointing.keep={_target_: os.getcwd}"], "keep must be an integer, got a node with the _target_"),
    (["callbacks.generalization.make_env=cpu"], "make_env must be a node with a _target_ that makes EntityEnv and"),
    (["++callbacks.generalization.make_env.deliver_reward=0x10"], "got {'deliver_reward': '0x10'}"),
    # flags
    (
        ["--resolve"],
        "--resolve needs --cfg job, which shows the config; the flags of mipi train are --config-dir FOLDER",
    ),
    (["--cfg", "job", "--package", "env"], "there is no flag --package"),
    (["-c", "job"], "there is no flag -c"),
    (["-cn", "x"], "there is no flag -cn; the flags of mipi train are"),
    (["--config-name=eval"], "there is no flag --config-name"),
    (["--info"], "there is no flag --info"),
    (["--cfg", "nope"], "invalid choice: 'nope'"),
    (["--cfg"], "expected one argument"),
    # sizes
    (["datamodule.capacity=4294967296"], "a replay of 4,294,967,296 episodes and 2 open ones, of up to 1 steps each,"),
    (["datamodule.capacity=4294967296"], "TB of memory, and this machine has"),
    (["datamodule.num_envs=4294967296"], "4,294,967,296 environments of 3 entities each would take about"),
    (["datamodule.steps_per_collection=1000000000000"], "one collection of 1,000,000,000,000 steps in 2 environments"),
    (["datamodule.warmup_episodes=4294967296"], "episodes, and total_frames allows 20 steps: lower"),
    (["datamodule.updates_per_episode=1e-320"], "the first update needs 1,000,000,000,000,000,"),
    (["datamodule.updates_per_episode=1e-12"], "the first update needs 1,000,000,000,002 episodes"),
    (["held_out.episodes=1000000000000"], "the results of 1,000,000,000,000 episodes would take about 64 TB of memory"),
    (["algorithm.iterations=1000000000000"], "1,000,000,000,000 alternations per batch would take about 100 TB"),
    (["algorithm=mappo", "algorithm.epochs=4294967296"], "the metrics of 4,294,967,296 epochs would take about"),
    (["network.width=1048576"], "training these networks would take about"),
    (["network.width=4294967296"], "algorithm: too large for the memory of this machine"),
    (["algorithm.critic_optimizer.alpha=1000000000000"], "RMSprop turns a parameter of 0 into nan within 3 steps"),
    (["algorithm.critic_optimizer.lr=inf"], "within 3 steps with a gradient of 0 or 1, with lr=inf"),
    (["algorithm.critic_optimizer.eps=0"], "RMSprop turns a parameter of 0 into nan"),
    (["algorithm.alpha=1e300"], "algorithm.alpha must be at most 3.4e+38, the largest 32-bit number, got 1e+300"),
    (["total_frames=99999999999999999999999"], "total_frames must be at most 9223372036854775807, the largest"),
    (["threads=4294967296"], "threads must be at least 1 and at most 1024, got 4294967296"),
    (["trainer.devices=4294967296"], "trainer.devices must be at most 1024"),
    (["trainer.num_nodes=3"], "trainer.num_nodes=3 needs torchrun or srun"),
]


@pytest.mark.parametrize(
    ("overrides", "message"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_mistake_in_the_config_is_told(
    overrides: list[str],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "experiment=matrix_game", "debug=tiny", *overrides]) == 2
    stderr = capfd.readouterr().err
    assert message in stderr
    assert stderr.startswith("mipi: ")
    assert len(stderr.splitlines()) == 1
    assert not any(tmp_path.rglob("*.yaml"))
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("env.groups=[{types: marine, min: 1, max: 64}]", "the types of a group must be a list"),
        ("env.groups=[{types: [marine, marine], min: 1, max: 64}]", "a group must list each type once"),
        ("env.groups=[{types: [marine], min: 1, max: 9}, {types: [marine], min: 0, max: 2}]", "one group only"),
        ("env.groups=[marine]", "each of groups must be"),
        ("env.enemy_delta=4294967296", "1 battle of up to 4,294,967,312 units each would take more than 100 PB"),
        ("env.capacity=4294967296", "of memory, and this machine has"),
        ("env.enemies={marine: 1000000000000}", "1 battle of up to 1,000,000,000,000 units each would take more"),
        ("env.loops_per_step=1000000000000", "env.loops_per_step must be at least 1 and at most 10000"),
        ("datamodule.num_envs=1000000000", "1,000,000,000 battles of up to 16 units each would take about"),
        ("env.groups=[{types: [marine], max: 64}]", "each of groups must be"),
        ("algorithm.agent.heads=0", "heads must be at least 1"),
        ("algorithm.agent.heads=5", "heads must divide the width"),
        ("algorithm.agent.width=0", "width"),
        ("algorithm.agent.hidden=-3", "hidden must be at least 1"),
        ("algorithm.mixer.mixing=0", "mixer.mixing must be at least 1"),
        ("algorithm.mixer.pool=max", "mixer.pool must be"),
        ("algorithm.regularizer=foo", "algorithm.regularizer must be one of mutual_information, entropy, none"),
        ("algorithm.policy_divergence=sideways", "must be one of reverse, forward"),
        ("algorithm.gamma=1.5", "algorithm.gamma must be at least 0 and at most 1"),
        ("algorithm.alpha=-1", "algorithm.alpha must be at least 0"),
        ("algorithm.mixer.linear=false", "needs a linear mixer"),
        ("datamodule.batch_size=0", "datamodule.batch_size must be at least 1"),
        ("datamodule.epsilon_end=2", "datamodule.epsilon_end must be at least 0 and at most 1"),
        ("datamodule.storage=tape", "datamodule.storage must be"),
        ("trainer.precision=16-mixed", "trainer.precision must be one of 32-true, bf16-mixed, got '16-mixed'"),
    ],
)
def test_an_impossible_value_in_a_part_is_told(
    override: str, message: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["env=marines", "debug=tiny", f"output_dir={tmp_path / 'outputs'}", override]
    assert main(["train", *arguments]) == 2
    stderr = capfd.readouterr().err
    assert message in stderr
    assert len(stderr.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("algorithm", "datamodule", "message"),
    [
        (
            "mappo",
            "replay",
            "MAPPO learns from rollouts of the present policy (datamodule=on_policy), got ReplayDataModule",
        ),
        ("refil", "on_policy", "QLearning learns from a replay (datamodule=replay), got OnPolicyDataModule"),
    ],
)
def test_an_algorithm_with_the_data_of_another_kind_is_refused(
    algorithm: str, datamodule: str, message: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    chosen = [f"algorithm={algorithm}", f"datamodule={datamodule}", "trainer=default", "callbacks=default"]
    assert main(["train", "env=marines", "total_frames=20", *chosen, f"output_dir={tmp_path / 'outputs'}"]) == 2
    stderr = capfd.readouterr().err
    assert message in stderr
    assert len(stderr.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()


def test_utilities_are_not_compared_with_a_policy_that_is_not_there(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    chosen = ["env=marines", "algorithm=refil", "callbacks.generalization.by_utilities=true"]
    assert main(["train", *chosen, f"output_dir={tmp_path / 'outputs'}"]) == 2
    stderr = capfd.readouterr().err
    assert "callbacks.generalization.by_utilities: QLearning has no policy to compare with its utilities" in stderr
    assert len(stderr.splitlines()) == 1


def test_team_sizes_above_the_capacity_are_refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["env=marines", "debug=tiny", "held_out.team_sizes=[6,99]", f"output_dir={tmp_path / 'outputs'}"]
    assert main(["train", *arguments]) == 2
    assert "capacity" in capfd.readouterr().err
    assert not (tmp_path / "outputs").exists()


def test_an_evaluation_in_a_world_that_the_policy_does_not_fit_is_refused(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    more = ["env.target_actions=tags", "+held_out.worlds.big.capacity=12"]
    assert main(["train", "env=marines", "debug=tiny", *more, f"output_dir={tmp_path / 'outputs'}"]) == 2
    stderr = capfd.readouterr().err
    assert "evaluation 'big' (capacity=12): the policy was trained with n_features=29 and" in stderr
    assert len(stderr.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()


def test_an_unknown_command_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "known commands: train, resume, eval" in capfd.readouterr().err


def test_a_part_that_asks_for_input_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    words = ["train", "experiment=matrix_game", "debug=tiny", "callbacks.collection._target_=builtins.input"]
    assert main([*words, f"output_dir={tmp_path}"]) == 2
    assert "callbacks.collection: EOF when reading a line" in capfd.readouterr().err
