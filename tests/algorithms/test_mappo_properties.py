"""Properties of MAPPO and MIPI-PPO on random batches, and tests that they learn."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer, seed_everything
from ppo_worlds import LEARNED, as_rollout, rollouts_of, small_mappo
from script_world import ScriptWorld
from tensordict import TensorDict
from worlds import Sizes, drive, parameters_of, random_batch

from mipi_pl import spec as keys
from mipi_pl.algorithms.mappo import MAPPO
from mipi_pl.callbacks.imaginary_partition import ImaginaryPartition
from mipi_pl.datamodules.on_policy import OnPolicyDataModule
from mipi_pl.envs.matrix import MatrixGame
from mipi_pl.run.learner import check_optimizers
from mipi_pl.utils.errors import UserError

PRICED = {"regularizer": "mutual_information"}
BOTH: list[dict[str, Any]] = [{}, {**PRICED, "alpha": 0.3}]


def learn(batch: TensorDict, spec: keys.EntitySpec, **options: Any) -> list[dict[str, torch.Tensor]]:
    """What one update logs, and the parameters after it."""
    algorithm = small_mappo(spec, **options).double()
    torch.manual_seed(0)
    (logged,) = drive(algorithm, [as_rollout(batch)])
    return [logged, parameters_of(algorithm, *LEARNED)]


def assert_same(found: list[dict[str, torch.Tensor]], expected: list[dict[str, torch.Tensor]]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            torch.testing.assert_close(one[name], value, msg=name, rtol=1e-8, atol=1e-10)


# ------------------------------------------------------------------ symmetries and masks


def test_a_team_that_never_acts_teaches_the_critic_and_nobody_else() -> None:
    s = Sizes(lengths=(2, 3), lifetimes=((0, 0), (0, 0)), absent=((), ()), n_agents=2, truncated=(True, False))
    before = parameters_of(small_mappo(s.spec, **BOTH[1]).double(), *LEARNED)
    _, after = learn(random_batch(s), s.spec, **BOTH[1])
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("critic.") for name in moved)


def test_the_teams_value_goes_on_after_an_agent_has_died() -> None:
    s = Sizes(lengths=(3,), lifetimes=((9, 1),), absent=((),), n_agents=2, truncated=(False,))
    batch, richer = random_batch(s), random_batch(s)
    richer["reward"][0, 2] += 5.0  # long after the death of the second agent, which decided in the first step only
    found, expected = (learn(b, s.spec, gae_lambda=1.0, epochs=1) for b in (richer, batch))
    assert found[0]["loss/value"] != expected[0]["loss/value"]
    assert not torch.equal(found[1]["agent.policy_logits.weight"], expected[1]["agent.policy_logits.weight"])


# ------------------------------------------------------------------ options


def test_before_the_first_step_nothing_is_clipped_and_the_policy_is_the_old_one() -> None:
    once, often = (learn(random_batch(Sizes()), Sizes().spec, epochs=epochs)[0] for epochs in (1, 4))
    assert float(once["policy/kl_to_old"]) == pytest.approx(0.0, abs=1e-12)
    assert float(once["policy/clipped"]) == 0.0
    assert float(often["policy/kl_to_old"]) > 1e-6


def test_without_price_mipi_ppo_is_mappo() -> None:
    batch, spec = random_batch(Sizes()), Sizes().spec
    free, plain = learn(batch, spec, regularizer="mutual_information", alpha=0.0), learn(batch, spec)
    for found, expected in zip(free, plain, strict=True):
        shared = {name for name in expected if not name.startswith("marginal")}
        assert_same([{name: found[name] for name in shared}], [{name: expected[name] for name in shared}])


def test_the_price_of_information_is_paid_out_of_the_reward() -> None:
    s = Sizes()
    batch = random_batch(s)
    logged = [learn(batch, s.spec, regularizer=r, alpha=0.5)[0] for r in ("none", "entropy", "mutual_information")]
    assert "cost" not in logged[0]
    assert float(logged[1]["cost"]) < 0.0, "log-probabilities are negative: entropy is a gain"
    assert len({float(row["loss/value"]) for row in logged}) == 3


def test_there_are_as_many_minibatches_as_environments_at_most() -> None:
    """However many sequences a rollout has: every process must make the same number of steps."""
    (batch,) = rollouts_of(random_batch(Sizes()), steps=3, count=1)
    assert len(batch) == 6
    for minibatches, sizes_ in ((1, [6]), (2, [3, 3]), (50, [2, 2, 2])):
        parts = small_mappo(Sizes().spec, minibatches=minibatches)._minibatches(batch)
        assert [len(part) for part in parts] == sizes_
        assert torch.cat(list(parts)).sort().values.tolist() == list(range(6))


def test_too_few_partitions_are_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="add the ImaginaryPartition callback"):
        learn(random_batch(Sizes(), partitions=1), Sizes().spec, **BOTH[1])
    assert small_mappo(Sizes().spec).partitions_per_batch == 0
    assert small_mappo(Sizes().spec, **BOTH[1], epochs=3).partitions_per_batch == 3
    assert small_mappo(Sizes().spec, **BOTH[1], epochs=3, marginal_epochs=1).partitions_per_batch == 1
    assert small_mappo(Sizes().spec, **BOTH[1], marginal_teams="actual").partitions_per_batch == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip": 0.0}, "algorithm.clip must be above 0"),
        ({"value_clip": -1.0}, "algorithm.value_clip must be above 0"),
        ({"huber_delta": 0.0}, "algorithm.huber_delta must be above 0"),
        ({"epochs": 0}, "algorithm.epochs must be at least 1"),
        ({"minibatches": 0}, "algorithm.minibatches must be at least 1"),
        ({**PRICED, "marginal_epochs": 0}, "algorithm.marginal_epochs must be at least 1 and at most 2"),
        ({**PRICED, "marginal_epochs": 3}, "algorithm.marginal_epochs must be at least 1 and at most 2"),
        ({"gae_lambda": 1.5}, "algorithm.gae_lambda must be at least 0 and at most 1"),
        ({"value_decay": 1.1}, "algorithm.value_decay must be at least 0"),
        ({"entropy_bonus": -0.1}, "algorithm.entropy_bonus must be at least 0"),
        ({"regularizer": "other"}, "must be one of mutual_information, entropy, none, got 'other'"),
        ({**PRICED, "marginal_teams": "other"}, "must be one of imaginary, actual, got 'other'"),
        ({**PRICED, "priced": "other"}, "algorithm.priced must be one of kind, target, got 'other'"),
        (
            {"priced": "kind", "regularizer": "none"},
            "algorithm.priced=kind needs a price, and algorithm.regularizer is none",
        ),
        (
            {"priced": "kind", "regularizer": "entropy"},
            "algorithm.priced=kind needs actions with a target, and the environment has none",
        ),
        ({**PRICED, "marginal": None}, "give both, as algorithm=mipi_ppo does"),
    ],
    ids=str,
)
def test_impossible_values_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_mappo(Sizes().spec, **options)


def test_a_decay_of_an_older_run_plays_and_is_refused_in_training() -> None:
    algorithm = small_mappo(Sizes().spec, value_decay=0.999991)
    with pytest.raises(
        UserError, match=r"algorithm\.value_decay must be at least 0 and at most 0\.99999, got 0\.999991"
    ):
        check_optimizers(algorithm)


@pytest.mark.parametrize("regularizer", [None, "mutual_information", "entropy", "none"])
def test_each_regularizer_names_its_optimizers(regularizer: str | None) -> None:
    algorithm = small_mappo(Sizes().spec, regularizer=regularizer)
    check_optimizers(algorithm)
    assert ("marginal" in algorithm.optimizer_names) is (regularizer == "mutual_information")


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.99999])
def test_returns_are_normalised_from_the_first_rollout_on(decay: float) -> None:
    returns = 10 + 2 * torch.randn(4096, generator=torch.Generator().manual_seed(0))
    scale = small_mappo(Sizes().spec, value_decay=decay).return_scale
    for _ in range(3):
        scale.update(returns)
        normalised = scale.to_value(returns)
        assert abs(float(normalised.mean())) < 1e-3
        assert float(normalised.std()) == pytest.approx(1.0, abs=1e-2)


# ------------------------------------------------------------------ in a real run


class Witness(Callback):
    """Notes the counts after each update."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, int]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append((trainer.global_step, pl_module.updates, len(batch)))


def fit(algorithm: MAPPO, data: OnPolicyDataModule, updates: int, *callbacks: Callback) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            max_steps=updates,
            callbacks=[ImaginaryPartition(seed=0), *callbacks],
        ).fit(algorithm, datamodule=data)


def test_a_global_step_is_a_rollout_however_many_optimizer_steps_it_takes() -> None:
    data = OnPolicyDataModule(partial(ScriptWorld, [[3, 1], [2], [6]]), num_envs=3, rollout_steps=4)
    algorithm = small_mappo(data.env.entity_spec, epochs=3, minibatches=2, **BOTH[1])
    witness = Witness()
    fit(algorithm, data, 4, witness)
    assert witness.steps == [(1, 1, 5), (2, 2, 6), (3, 3, 5), (4, 4, 5)]
    assert data.batches == 4


PAYOFFS = {"AB": [[1.0, 2.0], [0.0, 0.0]], "BA": [[1.0, 0.0], [2.0, 0.0]]}
"""A different best joint action in each composition; (0, 0) is fair in both."""


@pytest.mark.parametrize(
    ("seed", "options"), [(0, {}), (1, {}), (0, {"regularizer": "mutual_information", "alpha": 0.02})], ids=str
)
def test_the_best_joint_action_of_each_composition_is_found(seed: int, options: dict[str, Any]) -> None:
    seed_everything(seed, verbose=False)
    data = OnPolicyDataModule(partial(MatrixGame, PAYOFFS, ["AB", "BA"]), num_envs=64, seed=seed, rollout_steps=1)
    algorithm = small_mappo(
        data.env.entity_spec,
        width=16,
        heads=1,
        hidden=16,
        optimizer=partial(torch.optim.Adam, lr=1e-2),
        seed=seed,
        entropy_bonus=0.2,
        epochs=4,
        **options,
    )
    fit(algorithm, data, 35)
    for name in PAYOFFS:
        env = MatrixGame(PAYOFFS, [name], num_envs=1)
        td = algorithm.actor(greedy=True)(env.reset())
        assert float(env.step(td)["next", keys.REWARD]) == 2.0
