"""Small, fully observable multi-agent Markov decision processes as tables (section 3 of the paper).

Sizes: n agents, S states, U actions per agent, J = U^n joint actions, O own states s_i^+ per agent.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class MMDP:
    """A multi-agent Markov decision process in tables.

    Team compositions are represented by sets of states without transitions between them; the marginals do not observe
    the composition.

    Attributes:
        reward: [S, J].
        transition: [S, J, S]; each row is a distribution over the next states.
        own: int64 [n, S], index of s_i^+, the part of the state that agent i's marginal observes.
        gamma: discount, below 1.
        n_actions: U, actions per agent.

    Raises:
        ValueError: if the shapes do not match, a row is not a distribution, or the discount is outside [0, 1).
    """

    reward: Array
    transition: Array
    own: Indices
    gamma: float
    n_actions: int

    def __post_init__(self) -> None:
        states, joint = self.reward.shape
        if joint != self.n_actions**self.n_agents or self.own.shape[1] != states:
            raise ValueError(
                f"reward must be [S, U^n] for own states [n, S] and U={self.n_actions}, got {self.reward.shape} "
                f"and {self.own.shape}"
            )
        if self.transition.shape != (states, joint, states):
            raise ValueError(f"transition must be {(states, joint, states)}, got {self.transition.shape}")
        if (self.transition < 0).any() or not np.allclose(self.transition.sum(-1), 1.0, rtol=0, atol=1e-12):
            raise ValueError("each row of transition must be a distribution over the next states")
        if not 0 <= self.gamma < 1:
            raise ValueError(f"gamma must be at least 0 and below 1, got {self.gamma}")

    @property
    def n_agents(self) -> int:
        """Number of agents, n."""
        return len(self.own)

    @property
    def n_states(self) -> int:
        """Number of states, S."""
        return len(self.reward)

    @property
    def n_own(self) -> int:
        """Number of own states of an agent, O."""
        return int(self.own.max()) + 1

    @property
    def actions(self) -> Indices:
        """Action of each agent in each joint action, int64 [J, n]."""
        return joint_actions(self.n_agents, self.n_actions)


def joint_actions(n_agents: int, n_actions: int) -> Indices:
    """Return all joint actions, int64 [J, n]; the last agent's action changes fastest."""
    return np.array(list(product(range(n_actions), repeat=n_agents)), dtype=np.int64)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a random process, which has S = compositions * situations states."""

    n_agents: int = 2
    compositions: int = 2
    situations: int = 3
    n_own: int = 2
    n_actions: int = 2
    gamma: float = 0.9


def random_mmdp(sizes: Sizes, rng: np.random.Generator, *, additive: bool) -> MMDP:
    """Draw a process: normal rewards, Dirichlet transitions within each composition, own states that hide it.

    Args:
        sizes: sizes of the process.
        rng: random generator of all draws.
        additive: make the rewards sums, and the transitions mixtures, of one term per agent. Then and only then the
            joint value of every policy has the decomposition (6).
    """
    n, c, x, u = sizes.n_agents, sizes.compositions, sizes.situations, sizes.n_actions
    states, actions = c * x, joint_actions(n, u)
    terms = n if additive else 1
    choices = [actions[:, i] for i in range(n)] if additive else [np.arange(len(actions))]
    shares = rng.dirichlet(np.ones(terms), size=states)
    reward, transition = np.zeros((states, len(actions))), np.zeros((states, len(actions), states))
    for term, chosen in enumerate(choices):
        options = chosen.max() + 1
        reward += rng.standard_normal((states, options))[:, chosen]
        within = rng.dirichlet(np.full(x, 0.5), size=(states, options))
        for s in range(states):
            block = slice(s // x * x, (s // x + 1) * x)
            transition[s, :, block] += shares[s, term] * within[s][chosen]
    transition /= transition.sum(axis=-1, keepdims=True)
    own = np.tile(rng.integers(sizes.n_own, size=(n, x)), (1, c))
    return MMDP(reward, transition, own, sizes.gamma, u)


def random_policies(mmdp: MMDP, rng: np.random.Generator, sharpness: float = 1.0) -> Array:
    """Draw policies [n, S, U] as the softmax of normal logits.

    A large `sharpness` makes them nearly deterministic, but every action keeps a positive probability.
    """
    return _softmax(np.clip(sharpness * rng.standard_normal((mmdp.n_agents, mmdp.n_states, mmdp.n_actions)), -300, 300))


def random_marginals(mmdp: MMDP, rng: np.random.Generator) -> Array:
    """Draw marginals pi_i(u|s_i^+) as [n, S, U], equal in states with equal s_i^+; all probabilities are positive."""
    table = _softmax(rng.standard_normal((mmdp.n_agents, mmdp.n_own, mmdp.n_actions)))
    return np.stack([table[i][mmdp.own[i]] for i in range(mmdp.n_agents)])


def _softmax(logits: Array) -> Array:
    shares: Array = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)
