"""Properties of a MIPI learning step on random batches."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from worlds import Sizes, drive, learn, parameters_of, random_batch, small_mipi

from mipi_pl import spec as keys
from mipi_pl.algorithms.batch import EpisodeBatch
from mipi_pl.algorithms.mipi import MIPI
from mipi_pl.utils.errors import DivergedError


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], **tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name, **{"rtol": 1e-8, "atol": 1e-10, **tolerance})


# ------------------------------------------------------------------ symmetries and masks


def test_an_entity_that_no_agent_sees_reaches_the_mixer_only() -> None:
    s = Sizes(absent=((), (), ()))
    batch, changed = random_batch(s), random_batch(s)
    for b in (batch, changed):
        b["agents", "visible"][..., 3] = False
    changed["entities"][:, :, 3] += 1.0
    algorithm = small_mipi(s.spec).double()
    features = [
        algorithm._perceive(one, one.visible.unsqueeze(1)).features
        for one in (EpisodeBatch.from_tensordict(b, s.spec, truncation_is_terminal=True) for b in (batch, changed))
    ]
    torch.testing.assert_close(features[0], features[1], rtol=0.0, atol=1e-12)
    assert learn(batch, s.spec)[0]["value/joint"] != learn(changed, s.spec)[0]["value/joint"]


def test_at_alpha_infinity_other_entities_reach_the_mixer_only() -> None:
    s = Sizes(absent=((), (), ()))
    batch, changed = random_batch(s), random_batch(s)
    changed["entities"][:, :, 1:] += 1.0
    alone, informed = (small_mipi(s.spec, regularizer="none", own_entity_only=own).double() for own in (True, False))
    assert parameters_of(alone).keys() == parameters_of(informed).keys()

    def features(algorithm: MIPI, one: TensorDict) -> torch.Tensor:
        b = EpisodeBatch.from_tensordict(one, s.spec, truncation_is_terminal=True)
        return algorithm._perceive(b, b.visible.unsqueeze(1)).features[:, 0, 0]

    torch.testing.assert_close(features(alone, batch), features(alone, changed), rtol=0.0, atol=0.0)
    assert not torch.allclose(features(informed, batch), features(informed, changed))
    options = {"regularizer": "none", "own_entity_only": True}
    assert learn(batch, s.spec, **options)[0]["value/joint"] != learn(changed, s.spec, **options)[0]["value/joint"]


# ------------------------------------------------------------------ options


def test_alpha_zero_is_the_value_ablation() -> None:
    s = Sizes()
    batch = random_batch(s)
    zero, value = (learn(batch, s.spec, **o) for o in ({"alpha": 0.0}, {"regularizer": "none", "alpha": 0.5}))
    for name in ("loss/td", "loss/imagined", "loss/policy", "value/joint"):
        torch.testing.assert_close(zero[0][name], value[0][name], msg=name)
    assert_close(
        *({name: p for name, p in parameters.items() if "marginal" not in name} for _, parameters in (zero, value))
    )


def test_lambda_zero_is_the_one_step_target_and_lambda_matters() -> None:
    s = Sizes()
    batch = random_batch(s)
    losses = [learn(batch, s.spec, td_lambda=x)[0]["loss/td"] for x in (0.0, 1e-12, 0.5)]
    torch.testing.assert_close(losses[0], losses[1])
    assert losses[0] != losses[2]


def test_the_expected_target_is_the_mean_of_sampled_ones() -> None:
    s, copies = Sizes(absent=((), (), ())), 1500
    b = EpisodeBatch.from_tensordict(random_batch(s).repeat(copies), s.spec, truncation_is_terminal=False)
    expected, sampled = (small_mipi(s.spec, alpha=0.5, target=kind).double() for kind in ("expected", "sampled"))

    def targets(algorithm: MIPI) -> torch.Tensor:
        seen = algorithm._perceive(b, b.visible.unsqueeze(1)).view(0)
        return algorithm.td_targets(b, seen, algorithm._log_marginal(b)).view(copies, -1)

    torch.manual_seed(0)
    with torch.no_grad():
        draws, exact = targets(sampled), targets(expected)[0]
    error = draws.std(dim=0) / len(draws) ** 0.5
    assert (draws.std(dim=0) > 0).sum() >= 3
    assert ((draws.mean(dim=0) - exact).abs() <= 4.5 * error + 1e-9).all()


@pytest.mark.parametrize("regularizer", ["mutual_information", "none"])
@pytest.mark.parametrize("target", ["sampled", "expected"])
def test_a_policy_that_is_not_finite_ends_the_update_with_the_error_that_says_so(target: str, regularizer: str) -> None:
    algorithm = small_mipi(Sizes().spec, target=target, regularizer=regularizer).double()
    with torch.no_grad():
        for weight in algorithm.agent.policy_logits.parameters():
            weight.fill_(torch.inf)
    with pytest.raises(DivergedError, match=r"^the (critic|policy) diverged in update 1: its loss is nan"):
        drive(algorithm, [random_batch(Sizes(), partitions=algorithm.partitions_per_batch)])


def test_an_expected_target_needs_a_linear_mixer() -> None:
    with pytest.raises(ValueError, match="target=expected needs a linear mixer"):
        small_mipi(Sizes().spec, linear=False)
    small_mipi(Sizes().spec, linear=False, target="sampled")


@pytest.mark.parametrize("divergence", ["reverse", "forward"])
def test_a_temperature_by_weight_is_the_constant_one_where_all_weights_are_one(divergence: str) -> None:
    s = Sizes()
    batch = random_batch(s)
    options = {"alpha": 0.3, "policy_divergence": divergence}
    for mixing, same in ((1, True), (3, False)):
        constant, by_weight = (
            learn(batch, s.spec, mixing=mixing, temperature=kind, **options) for kind in ("constant", "by_weight")
        )
        assert torch.allclose(constant[0]["loss/policy"], by_weight[0]["loss/policy"]) is same
        if same:
            for found, expected in zip(by_weight, constant, strict=True):
                assert_close(found, expected)


def test_the_temperature_moves_no_mixer() -> None:
    s = Sizes()
    batch = random_batch(s)
    mixers = [
        {
            name: value
            for name, value in learn(batch, s.spec, temperature=kind, alpha_i=0.3)[1].items()
            if "mixer" in name
        }
        for kind in ("constant", "by_weight")
    ]
    assert_close(*mixers)


def test_a_uniform_share_of_zero_changes_nothing_and_of_one_makes_all_actions_free() -> None:
    s = Sizes()
    batch = random_batch(s)
    plain, none, all_uniform, value = (
        learn(batch, s.spec, **options)[0]
        for options in (
            {"alpha": 0.4},
            {"alpha": 0.4, "uniform_share": 1e-13},
            {"alpha": 0.4, "uniform_share": 1.0},
            {"regularizer": "none"},
        )
    )
    for name in ("loss/td", "loss/policy"):
        torch.testing.assert_close(plain[name], none[name])
        torch.testing.assert_close(all_uniform[name], value[name])
        assert not torch.allclose(plain[name], value[name])


@pytest.mark.parametrize("option", ["regularizer", "target", "marginal_teams", "temperature"])
def test_unknown_kinds_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match="'other'"):
        small_mipi(Sizes().spec, **{option: "other"})


def test_time_limits_count_as_ends_only_if_asked_for() -> None:
    s = Sizes(truncated=(True, True, True))
    batch = random_batch(s)
    ends, goes_on = (learn(batch, s.spec, truncation_is_terminal=x)[0]["loss/td"] for x in (True, False))
    assert ends != goes_on
    s = Sizes(truncated=(False, False, False))
    batch = random_batch(s)
    ends, goes_on = (learn(batch, s.spec, truncation_is_terminal=x)[0]["loss/td"] for x in (True, False))
    assert ends == goes_on


def test_an_episode_that_a_fault_cut_short_has_a_value_after_its_end() -> None:
    s = Sizes(truncated=(True, True, True))
    b = EpisodeBatch.from_tensordict(random_batch(s), s.spec, truncation_is_terminal=True)
    ends = [(int(b.steps.episode[row]), int(b.steps.step[row])) for row in b.played if b.terminal[row]]
    assert ends == [(2, 2)], "the one that reached the time limit"


def test_too_few_partitions_are_an_error_that_says_what_to_do() -> None:
    batch = random_batch(Sizes(), partitions=1)
    with pytest.raises(ValueError, match="at least 2 imaginary partitions, got 1: add the Imaginary"):
        drive(small_mipi(Sizes().spec).double(), [batch])
    no_partitions = batch.exclude(keys.GROUPS)
    drive(small_mipi(Sizes().spec, imaginary_weight=0.0, marginal_teams="actual").double(), [no_partitions])
