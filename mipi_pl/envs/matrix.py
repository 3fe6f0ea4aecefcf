"""The matrix game of section 5.1 of the paper: two agents, two actions, two types, one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.composition import Composition
from mipi_pl.envs.frame import Frame
from mipi_pl.envs.scene import AGENTS, THINGS, Body, Scene
from mipi_pl.spec import EntitySpec

_TYPES = "AB"


class MatrixGame(EntityEnv):
    """One-step game of two agents. Both choose action 0 or 1; the payoff matrix of the composition gives the reward.

    The three entities are the two agents, each described only by its index (s_i^+), and the team, described by the
    types of both agents (s_i^-). Features: index, one-hot (2); types of both agents, one-hot (2 x 2).

    Args:
        payoffs: maps a composition such as ``AB`` (types of agent 1 and agent 2) to a 2 x 2 matrix, rows for agent 1.
        team_compositions: compositions to play, drawn uniformly.
        num_envs: B.
        seed: seed of all draws.
        device: device of the returned tensors.

    Raises:
        ValueError: if a composition has no payoffs, or a matrix is not 2 x 2 and finite.
    """

    team_arguments = ("team_compositions",)
    checked = False

    def __init__(
        self,
        payoffs: Mapping[str, Sequence[Sequence[float]]],
        team_compositions: Sequence[str],
        num_envs: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        if not team_compositions:
            raise ValueError("team_compositions must name at least one composition, such as AB")
        if not isinstance(payoffs, Mapping):
            raise ValueError(f"env.payoffs must map compositions to matrices, got {payoffs!r}")
        for name in team_compositions:
            if name not in payoffs or len(name) != 2 or not set(name) <= set(_TYPES):
                raise ValueError(
                    f"composition {name!r} must be two letters of {_TYPES} with an entry in payoffs; "
                    f"payoffs has entries for {sorted(payoffs)}"
                )
        self._payoff = np.stack([_matrix(name, payoffs[name]) for name in team_compositions])
        self._types = torch.tensor([[_TYPES.index(t) for t in name] for name in team_compositions])
        spec = EntitySpec(
            n_agents=2,
            n_entities=3,
            n_features=6,
            n_actions=2,
            max_steps=1,
            feature_names=("index_1", "index_2", "first_is_a", "first_is_b", "second_is_a", "second_is_b"),
            action_names=("0", "1"),
        )
        names = [((f"1st {name[0]}", 1), (f"2nd {name[1]}", 1)) for name in team_compositions]
        super().__init__(spec, [Composition(counts) for counts in names], num_envs, seed, device)

    def seed_rows(self, seeds: np.ndarray) -> None:
        """Create one random generator per environment."""
        self._generators = [np.random.Generator(np.random.PCG64(int(seed))) for seed in seeds]

    def memory(self) -> dict[str, Tensor]:
        """Return the state of the PCG64 generators as 64-bit words.

        A generator has a 128-bit state, a 128-bit increment and an optional unused 32-bit half of a draw.
        """
        words = []
        for generator in self._generators:
            state = generator.bit_generator.state
            numbers = (*state["state"].values(), state["has_uint32"], state["uinteger"])
            words.append([half for number in numbers for half in (number >> 64, number & (2**64 - 1))])
        return {"generators": torch.from_numpy(np.array(words, dtype=np.uint64).view(np.int64))}

    def remember(self, memory: dict[str, Tensor]) -> None:
        """Restore the state of the generators."""
        for generator, row in zip(self._generators, memory["generators"].numpy().view(np.uint64).tolist(), strict=True):
            state, increment, has_half, half = (row[i] << 64 | row[i + 1] for i in range(0, 8, 2))
            generator.bit_generator.state = {
                "bit_generator": "PCG64",
                "state": {"state": state, "inc": increment},
                "has_uint32": has_half,
                "uinteger": half,
            }

    def begin(self, rows: Tensor, frame: Frame) -> None:
        """Draw a composition and write the observation of the rows that are True."""
        for row in rows.nonzero().flatten().tolist():
            frame.composition[row] = int(self._generators[row].integers(len(self.compositions)))
        self._observe(frame)

    def advance(self, action: Tensor, frame: Frame) -> None:
        """Write the reward of the joint action and end the episode.

        Raises:
            ValueError: if an action is neither 0 nor 1.
        """
        if ((action < 0) | (action > 1)).any():
            raise ValueError(f"actions of the matrix game are 0 and 1, got {action.unique().tolist()}")
        frame.composition.copy_(self._frame.composition)
        drawn, played = frame.composition.numpy(), action.numpy()
        frame.reward.copy_(torch.from_numpy(self._payoff[drawn, played[:, 0], played[:, 1]]))
        frame.terminated.fill_(True)
        frame.truncated.fill_(False)
        best = self._payoff.max(axis=(1, 2))[drawn]
        frame.won.copy_(frame.reward >= torch.from_numpy(best))
        self._observe(frame)

    def scene(self, index: int) -> Scene:
        """Return the two agents with the team entity between them."""
        outcome = f"paid {float(self._frame.reward[index]):g}" if bool(self._frame.terminated[index]) else "to choose"
        types = [_TYPES[k] for k in self._types[self._frame.composition[index]].tolist()]
        agents = (
            Body(k, AGENTS, f"type {types[k]}", f"agent {k + 1}", str(k + 1), 2.0 * k - 1.0, 0.0, 0.3) for k in range(2)
        )
        team = Body(2, THINGS, "team", "team", "".join(types), 0.0, 0.7, 0.25)
        return Scene((*agents, team), (-2.0, -2.0, 4.0), None, outcome)

    def _observe(self, frame: Frame) -> None:
        frame.entities.zero_()
        frame.entities[:, :2, :2] = torch.eye(2)
        frame.entities[:, 2, 2:] = torch.nn.functional.one_hot(self._types[frame.composition], 2).flatten(1).float()
        for mask in (frame.present, frame.visible, frame.action_mask):
            mask.fill_(True)


def _matrix(name: str, payoffs: object) -> np.ndarray:
    """Return the payoffs of a composition as a float32 [2, 2].

    Raises:
        ValueError: if they are no such matrix.
    """
    try:
        matrix: np.ndarray = np.array(payoffs, dtype=np.float32)
    except (TypeError, ValueError):  # ragged, or no numbers
        matrix = np.zeros(0)
    if matrix.shape != (2, 2) or not np.isfinite(matrix).all():
        raise ValueError(f"env.payoffs.{name} must be 2 x 2 and finite, such as [[1, 0], [0, 1]], got {payoffs!r}")
    return matrix
