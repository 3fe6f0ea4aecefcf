"""Results of the checks of statements, and the random instances that the checks share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mipi_pl.theory.mmdp import MMDP, Array, Sizes, random_marginals, random_mmdp, random_policies
from mipi_pl.theory.policy_iteration import evaluate_policies, improved_policies

TOLERANCE = 1e-9
"""Largest violation that counts as rounding, relative to the size of the values."""


@dataclass(frozen=True)
class Finding:
    """Result of one check, a line of the table.

    Attributes:
        statement: name of the statement in the paper.
        checked: the checked property or the condition under which it was checked.
        instances: number of random instances.
        failed: number of instances that violate the statement.
        largest: largest violation, in units of return.
        known: whether the statement holds according to docs/theory.md.
    """

    statement: str
    checked: str
    instances: int
    failed: int
    largest: float
    known: bool

    @classmethod
    def from_violations(cls, statement: str, checked: str, violations: Iterable[float], known: bool) -> Finding:
        """Summarize the violations of all instances: by how much each misses an inequality or equality, or 0.

        NaN counts as an infinite violation.
        """
        sizes = np.array([largest_violation(size) for size in violations])
        return cls(statement, checked, len(sizes), int((sizes > TOLERANCE).sum()), float(sizes.max()), known)

    @property
    def holds(self) -> bool:
        """Whether the statement holds in every instance."""
        return self.failed == 0

    @property
    def verdict(self) -> str:
        """``holds`` or ``fails``, for the table."""
        return "holds" if self.holds else "fails"


@dataclass(frozen=True)
class Instance:
    """A random process with marginals, weights, temperature and initial policies.

    Attributes:
        mmdp: the process.
        marginals: [n, S, U].
        weights: w_i(s) [n, S], from 1/4 to 4.
        alpha: temperature, from 0.05 to 2.
        start: initial policies [n, S, U].
        rng: random generator for further draws.
    """

    mmdp: MMDP
    marginals: Array
    weights: Array
    alpha: float
    start: Array
    rng: np.random.Generator

    @property
    def ones(self) -> Array:
        """Weights of 1, [n, S]."""
        return np.ones_like(self.weights)

    def after(self, improvements: int, weights: Array) -> Array:
        """Return the policies [n, S, U] after some improvements at the temperature alpha/w that the proof needs."""
        policies = self.start
        for _ in range(improvements):
            q, _ = evaluate_policies(self.mmdp, policies, self.marginals, self.alpha)
            policies = improved_policies(self.mmdp, q, weights, self.marginals, self.alpha)
        return policies


def draw(seed: int, *, additive: bool) -> Instance:
    """Draw an instance: up to 3 agents, 3 compositions of up to 3 situations, 3 actions; sharp and soft policies."""
    rng = np.random.default_rng(seed)
    sizes = Sizes(
        n_agents=int(rng.integers(1 if additive else 2, 4)),
        compositions=int(rng.integers(1, 4)),
        situations=int(rng.integers(1, 4)),
        n_own=int(rng.integers(1, 3)),
        n_actions=int(rng.integers(2, 4)),
        gamma=float(rng.uniform(0.5, 0.95)),
    )
    mmdp = random_mmdp(sizes, rng, additive=additive)
    start = random_policies(mmdp, rng, sharpness=float(rng.choice([0.5, 3.0, 10.0])))
    weights = np.exp(rng.uniform(-np.log(4), np.log(4), size=(mmdp.n_agents, mmdp.n_states)))
    return Instance(mmdp, random_marginals(mmdp, rng), weights, float(np.exp(rng.uniform(-3, 0.7))), start, rng)


def largest_violation(sizes: ArrayLike) -> float:
    """Return the largest of some violations, at least 0; infinity if one of them is NaN, which confirms nothing."""
    largest = np.max(sizes, initial=0.0)
    return np.inf if np.isnan(largest) else float(largest)


def excess(larger: Array, smaller: Array) -> float:
    """Return the most by which `larger` falls below `smaller`, relative to their largest absolute value if above 1.

    Infinity if one of their values is not finite.
    """
    if not (np.isfinite(larger).all() and np.isfinite(smaller).all()):
        return np.inf
    size = max(1.0, float(np.abs(larger).max()), float(np.abs(smaller).max()))
    return largest_violation(smaller - larger) / size


def distance(one: Array, other: Array) -> float:
    """Return the largest absolute difference, relative as in `excess`."""
    return max(excess(one, other), excess(other, one))
