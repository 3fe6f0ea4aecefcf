"""MIPI trained on all episodes of a small game, compared with exact policy iteration with Blahut-Arimoto."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from whole_game import AGENTS, GAMMA, SPEC, as_mmdp, choices, episodes
from worlds import drive, small_mipi

from mipi_pl.algorithms.batch import EpisodeBatch
from mipi_pl.algorithms.mipi import MIPI
from mipi_pl.theory.blahut_arimoto import alternate
from mipi_pl.theory.policy_iteration import decompose, evaluate_policies, improve

ALPHA, ALPHA_I, ALTERNATIONS = 0.3, 0.3, 1
TOLERANCE = {"policy": 0.05, "marginal": 0.04, "value": 0.04}
"""Largest error of probabilities and of returns; wrong signs, masks, discounts are far outside (docs/mutations.md)."""
UPDATES, REFRESH, LR, DECAY = 300, 15, 1e-2, 0.95


def exact(regularizer: str) -> dict[str, Any]:
    """Q_jt [S, J], policies and marginals [n, S, U] where evaluation and improvement change nothing any more."""
    game, allowed = as_mmdp(), choices()
    policies = allowed / allowed.sum(axis=-1, keepdims=True)
    for _ in range(300):
        marginals = averages(policies, game.own) if regularizer == "mutual_information" else allowed
        q, _ = evaluate_policies(game, policies, marginals, ALPHA)
        parts = decompose(game, q).parts
        if regularizer == "entropy":
            policies = improve(parts, allowed, ALPHA)
            continue
        for i, own in enumerate(game.own):
            for part in np.unique(own):
                rows = np.flatnonzero(own == part)
                shares = np.full(len(rows), 1 / len(rows))
                policies[i, rows] = alternate(parts[i, rows], shares, policies[i, rows], ALPHA, 1).policies[-1]
    return {"value": q, "policy": policies, "marginal": averages(policies, game.own)}


def averages(policies: np.ndarray, own: np.ndarray) -> np.ndarray:
    found = policies.copy()
    for i in range(AGENTS):
        for part in np.unique(own[i]):
            found[i, own[i] == part] = policies[i, own[i] == part].mean(axis=0)
    return found


def learn(regularizer: str, **options: Any) -> MIPI:
    """Full batches of all episodes, one unit in the mixer: weights of 1, so that the temperature is the theory's."""
    algorithm = small_mipi(
        SPEC,
        width=32,
        hidden=32,
        mixing=1,
        optimizer=partial(torch.optim.Adam, lr=LR, foreach=True),
        regularizer=regularizer,
        alpha=ALPHA,
        alpha_i=ALPHA_I,
        gamma=GAMMA,
        imaginary_weight=0.0,
        marginal_teams="actual",
        iterations=ALTERNATIONS,
        **options,
    )
    batch, _, _ = episodes()
    for _ in range(UPDATES // REFRESH):
        algorithm.update_targets()
        drive(algorithm, [batch] * REFRESH)
        for optimizer in algorithm.optimizers():
            for group in optimizer.param_groups:
                group["lr"] *= DECAY
    return algorithm


@torch.no_grad()
def largest_errors(algorithm: MIPI, solution: dict[str, Any]) -> dict[str, float]:
    """Over all states, actions and histories of the game."""
    batch, states, joint = episodes()
    b = EpisodeBatch.from_tensordict(batch, SPEC, truncation_is_terminal=False)
    s = torch.tensor(states).flatten()
    seen = algorithm._perceive(b, b.visible.unsqueeze(1)).view(0)
    utilities = algorithm.agent.utilities(seen)[b.played]
    chosen = utilities.gather(-1, b.action[b.played].unsqueeze(-1)).squeeze(-1)
    weights = algorithm._weights(algorithm.mixer, b, b.present.unsqueeze(1), b.played)
    found = {
        "value": algorithm.mixer.mix(chosen.unsqueeze(1), weights, [0]),
        "policy": algorithm._log_policy(b, seen).exp()[b.played],
    }
    expected = {
        "value": torch.tensor(solution["value"])[s, torch.tensor(joint).flatten()],
        "policy": torch.tensor(solution["policy"]).transpose(0, 1)[s],
    }
    log_marginal = algorithm._log_marginal(b)
    if log_marginal is not None:
        found["marginal"] = log_marginal.exp()[b.played]
        expected["marginal"] = torch.tensor(solution["marginal"]).transpose(0, 1)[s]
    acting = b.acting[b.played]
    errors = {}
    for name, values in found.items():
        error = (values - expected[name]).abs()
        errors[name] = float(error.max() if name == "value" else error[acting].max())
    return errors


def test_the_game_is_additive_and_its_teams_disagree() -> None:
    game, solution = as_mmdp(), exact("mutual_information")
    assert decompose(game, solution["value"]).residual < 1e-12
    first = solution["policy"][:2, :, 1]
    assert np.abs(first[:, :3] - first[:, 3:6]).min() > 0.2
    assert 0.05 < first[:, :6].min() < first[:, :6].max() < 0.95, "far from the edge, where Blahut-Arimoto is slow"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("regularizer", "options"),
    [("mutual_information", {}), ("entropy", {"policy_divergence": "forward"})],
    ids=["mutual_information", "entropy"],
)
def test_mipi_learns_the_exact_solution(regularizer: str, options: dict[str, Any]) -> None:
    errors = largest_errors(learn(regularizer, **options), exact(regularizer))
    assert all(error < TOLERANCE[name] for name, error in errors.items()), errors
