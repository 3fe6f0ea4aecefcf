"""Tabular solutions against enumeration, sums and grids."""

from __future__ import annotations

from itertools import product

import numpy as np
import plain_theory as plain
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mipi_pl.theory.blahut_arimoto import alternate, objective, solve
from mipi_pl.theory.findings import draw
from mipi_pl.theory.mmdp import MMDP, Sizes, random_marginals, random_mmdp, random_policies
from mipi_pl.theory.policy_iteration import (
    backup,
    best_response,
    decompose,
    divergences,
    evaluate,
    evaluate_policies,
    improve,
    individual_policies,
    iterate,
    iterate_in_turn,
    joint_policy,
)

SEEDS = st.integers(0, 2**31)
TINY = Sizes(n_agents=2, compositions=2, situations=1, n_own=1, n_actions=2, gamma=0.5)


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.integers(1, 2), st.integers(1, 3))
def test_the_exact_value_is_the_long_sum(seed: int, n_agents: int, n_actions: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = Sizes(n_agents, compositions=2, situations=2, n_own=2, n_actions=n_actions, gamma=0.4)
    mmdp = random_mmdp(sizes, rng, additive=bool(seed % 2))
    policies, marginals = random_policies(mmdp, rng), random_marginals(mmdp, rng)
    policies[0, 0] = np.eye(n_actions)[0]
    q, values = evaluate_policies(mmdp, policies, marginals, 0.7)
    for s in range(mmdp.n_states):
        assert values[s] == pytest.approx(plain.value(mmdp, policies, marginals, 0.7, s, steps=32), abs=1e-9)
        for j in range(q.shape[1]):
            assert q[s, j] == pytest.approx(plain.joint_value(mmdp, list(values), s, j), abs=1e-12)


def test_one_backup_is_one_step_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    mmdp = random_mmdp(Sizes(gamma=0.8), rng, additive=False)
    policies, marginals = random_policies(mmdp, rng), random_marginals(mmdp, rng)
    q = rng.standard_normal(mmdp.reward.shape)
    found = backup(mmdp, q, joint_policy(mmdp, policies), 0.3 * divergences(policies, marginals).sum(axis=0))
    values = []
    for s in range(mmdp.n_states):
        mean = sum(plain.joint_share(policies, s, a) * q[s, j] for j, a in enumerate(plain.all_actions(mmdp)))
        values.append(mean - 0.3 * sum(plain.divergence(policies[i][s], marginals[i][s]) for i in range(2)))
    for s, j in product(range(mmdp.n_states), range(4)):
        assert found[s, j] == pytest.approx(plain.joint_value(mmdp, values, s, j), abs=1e-12)


def test_no_transition_leads_to_another_composition_and_the_own_state_hides_it() -> None:
    for additive in (True, False):
        mmdp = random_mmdp(Sizes(compositions=3, situations=2), np.random.default_rng(1), additive=additive)
        for s, after in product(range(6), range(6)):
            if s // 2 != after // 2:
                assert not mmdp.transition[s, :, after].any()
        assert (mmdp.own[:, :2] == mmdp.own[:, 2:4]).all()
        marginals = random_marginals(mmdp, np.random.default_rng(2))
        assert (marginals[:, 0] == marginals[:, 2]).all()


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_the_value_of_every_policy_is_additive_where_rewards_and_transitions_are(seed: int) -> None:
    i = draw(seed, additive=True)
    q, _ = evaluate_policies(i.mmdp, i.start, i.marginals, i.alpha)
    found = decompose(i.mmdp, q)
    assert found.residual < 1e-9
    for j, action in enumerate(plain.all_actions(i.mmdp)):
        parts = sum(found.parts[agent, :, u] for agent, u in enumerate(action))
        np.testing.assert_allclose(parts + found.bias, q[:, j], atol=1e-9)
    general = draw(seed, additive=False)
    assert decompose(general.mmdp, general.mmdp.reward).residual > 1e-6


def test_the_best_additive_fit_of_matching_pennies_is_flat() -> None:
    mmdp = MMDP(np.array([[1.0, 0, 0, 1]]), np.ones((1, 4, 1)), np.zeros((2, 1), dtype=np.int64), 0.5, 2)
    found = decompose(mmdp, mmdp.reward)
    assert not found.parts.any()
    assert found.residual == 0.5


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.floats(0.05, 3.0))
def test_the_closed_form_is_the_best_of_all_policies(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    utilities, marginal = rng.standard_normal(3), rng.dirichlet(np.ones(3)) + 1e-6
    marginal /= marginal.sum()
    improved = improve(utilities, marginal, alpha)

    def gain(policy: np.ndarray) -> float:
        return float(policy @ utilities) - alpha * plain.divergence(policy, marginal)

    grid = [np.array([a, b, 20 - a - b]) / 20 for a in range(21) for b in range(21 - a)]
    assert gain(improved) >= max(map(gain, grid)) - 1e-12
    assert max(gain(0.99 * improved + 0.01 * point) for point in grid) <= gain(improved) + 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_policy_iteration_finds_what_trying_all_policies_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mmdp = random_mmdp(TINY, rng, additive=True)
    marginals = random_marginals(mmdp, rng)
    weights = rng.uniform(0.3, 3.0, size=(2, 2))
    found = iterate(mmdp, random_policies(mmdp, rng), weights, marginals, 0.4)
    _, values = evaluate_policies(mmdp, found.policies, marginals, 0.4)
    searched = plain.best_values(mmdp, marginals, 0.4, points=101, sweeps=25)
    assert found.converged
    np.testing.assert_allclose(values, searched, atol=1e-3)
    assert (values >= np.array(searched) - 1e-6).all()


def test_one_agent_at_a_time_stops_where_no_agent_alone_can_do_better() -> None:
    i = draw(5, additive=False)
    found = iterate_in_turn(i.mmdp, i.start, i.marginals, i.alpha)
    q, values = evaluate_policies(i.mmdp, found.policies, i.marginals, i.alpha)
    assert found.converged
    for agent in range(i.mmdp.n_agents):
        better = best_response(i.mmdp, q, found.policies, i.marginals, i.alpha, agent)
        np.testing.assert_allclose(better, found.policies, atol=1e-6)
        for _ in range(20):
            tried = found.policies.copy()
            tried[agent] = random_policies(i.mmdp, i.rng, 5.0)[agent]
            assert (evaluate_policies(i.mmdp, tried, i.marginals, i.alpha)[1] <= values + 1e-9).all()


def test_correlated_policies_are_judged_by_what_each_agent_does() -> None:
    i = draw(3, additive=True)
    joint = joint_policy(i.mmdp, i.start)
    np.testing.assert_allclose(individual_policies(i.mmdp, joint), i.start, atol=1e-12)
    cost = i.alpha * divergences(individual_policies(i.mmdp, joint), i.marginals).sum(axis=0)
    np.testing.assert_allclose(
        evaluate(i.mmdp, joint, cost)[0], evaluate_policies(i.mmdp, i.start, i.marginals, i.alpha)[0]
    )


def test_a_policy_without_support_in_the_marginal_costs_infinitely_much() -> None:
    policies, marginals = np.array([[[0.5, 0.5]], [[0.0, 1.0]]]), np.array([[[0.0, 1.0]], [[0.0, 1.0]]])
    assert divergences(policies, marginals).tolist() == [[np.inf], [0.0]]


# ------------------------------------------------------------------ Blahut-Arimoto


@pytest.mark.parametrize("seed", range(4))
def test_blahut_arimoto_finds_what_trying_all_policies_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    utilities, shares, alpha = rng.standard_normal((2, 2)), rng.dirichlet([2.0, 2.0]), float(rng.uniform(0.2, 1.5))
    policy, marginal, best = solve(utilities, shares, alpha)

    def value(first: float, second: float) -> float:
        policies = [(first, 1 - first), (second, 1 - second)]
        average = [sum(shares[x] * policies[x][u] for x in range(2)) for u in range(2)]
        gains = [
            sum(p * q for p, q in zip(policies[x], utilities[x], strict=True))
            - alpha * plain.divergence(policies[x], average)
            for x in range(2)
        ]
        return float(shares[0] * gains[0] + shares[1] * gains[1])

    tried = max(value(a, b) for a, b in product(np.linspace(0, 1, 81), repeat=2))
    assert tried - 1e-9 <= best <= tried + 2e-3
    assert value(policy[0, 0], policy[1, 0]) == pytest.approx(best, abs=1e-9)
    np.testing.assert_allclose(marginal, shares @ policy)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(2, 4), st.floats(0.2, 2.0))
def test_the_doubt_of_an_alternation_covers_its_gap(seed: int, teams: int, actions: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    utilities, shares = rng.standard_normal((teams, actions)), rng.dirichlet(np.ones(teams))
    start = rng.dirichlet(np.ones(actions), size=teams) + 1e-6
    found = alternate(utilities, shares, start / start.sum(axis=1, keepdims=True), alpha, 5)
    best = solve(utilities, shares, alpha, precision=1e-8)[2]
    assert best - found.objectives[-1] <= found.doubt + 1e-7
    own = objective(utilities, shares, found.policies[-1], alpha)
    assert own == found.objectives[-1]
    assert objective(utilities, shares, found.policies[-1], alpha, found.marginals[-1]) <= own + 1e-12


def test_what_cannot_be_reached_is_said() -> None:
    # The second action is exactly not worth its information: the gap falls as 1 / M^2.
    utilities = np.array([[0.0, np.log(1.5)], [0.0, np.log(0.5)]])
    with pytest.raises(ArithmeticError, match="precision"):
        solve(utilities, np.array([0.5, 0.5]), 1.0, precision=1e-13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 1.0}, "gamma must be"),
        ({"n_actions": 3}, "reward must be"),
        ({"transition": np.full((1, 4, 1), 0.5)}, "distribution"),
        ({"transition": np.ones((1, 3, 1))}, "transition must be"),
    ],
)
def test_processes_that_are_none_are_refused(change: dict[str, object], message: str) -> None:
    fields = {
        "reward": np.zeros((1, 4)),
        "transition": np.ones((1, 4, 1)),
        "own": np.zeros((2, 1), dtype=np.int64),
        "gamma": 0.9,
        "n_actions": 2,
    }
    with pytest.raises(ValueError, match=message):
        MMDP(**{**fields, **change})
