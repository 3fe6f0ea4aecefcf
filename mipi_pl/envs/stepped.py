"""SteppedEnv: plain environments, each of which plays one episode at a time, as one batched entity world.

For worlds that exist already (PettingZoo, VMAS, ...): all that has to be written is what an episode shows as arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mipi_pl.envs.base import EntityEnv, Frame
from mipi_pl.envs.composition import Composition
from mipi_pl.envs.kernels.records import first_unavailable, refuse_unavailable
from mipi_pl.spec import EntitySpec


@dataclass
class View:
    """What a game shows after its reset or a step, as numpy arrays.

    Attributes:
        entities: [E, F]; the agent slots come first. Rows of absent entities are not looked at.
        present: [E] bool, which slots are filled.
        visible: [A, E] bool; None lets every present agent see all that is present. An agent that does not see itself
            (a dead one) does not act.
        action_mask: [A, U] bool; None gives agents that act all actions. Others have the first action alone.
        reward: of the team, for the step.
        terminated: the episode is over.
        truncated: the episode was cut off: by a fault, if that is before the time limit of the spec.
        won: whether it is won, where that means anything.
    """

    entities: np.ndarray
    present: np.ndarray
    visible: np.ndarray | None = None
    action_mask: np.ndarray | None = None
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    won: bool = False


class Game(Protocol):
    """A plain environment. Equal compositions, seeds and actions must give equal episodes."""

    def reset(self, composition: int, seed: int) -> View:
        """Begin an episode of the composition with this index."""
        ...

    def step(self, action: np.ndarray) -> View:
        """Play the actions int64 [A], which are available; those of empty slots are 0."""
        ...


class SteppedEnv(EntityEnv):
    """B games, stepped one after the other.

    Each episode draws one of the compositions, all equally likely. After `max_steps` it is truncated. An episode is
    saved as its seed and its actions and brought back by playing them again, so a game need not be copied.

    Args:
        spec: the sizes of the world.
        compositions: the teams that are drawn.
        make_game: a new game; called B times.
        num_envs: B.
        seed: of all episodes.
        device: of the returned tensors; games run on the CPU.

    Raises:
        ValueError: if a team has more agents than there are slots, a game shows arrays of other sizes than `spec`
            says, or an action is not available.
    """

    def __init__(
        self,
        spec: EntitySpec,
        compositions: Sequence[Composition],
        make_game: Callable[[], Game],
        num_envs: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        largest = max(composition.size for composition in compositions)
        if largest > spec.n_agents:
            raise ValueError(f"env.team_sizes must not exceed capacity {spec.n_agents}, the agent slots; got {largest}")
        self._games = [make_game() for _ in range(num_envs)]
        self._episodes, self._steps = np.zeros(num_envs, dtype=np.int64), np.zeros(num_envs, dtype=np.int64)
        self._ended = np.zeros(num_envs, dtype=bool)
        self._actions = np.zeros((num_envs, spec.max_steps, spec.n_agents), dtype=np.int64)
        super().__init__(spec, compositions, num_envs, seed, device)

    def seed_rows(self, seeds: np.ndarray) -> None:
        """The episodes of a row follow from its seed and their number."""
        self._seeds = seeds.copy()
        self._episodes[:] = 0

    def begin(self, rows: Tensor, frame: Frame) -> None:
        """New episodes in the rows that are True."""
        for b in rows.nonzero().flatten().tolist():
            self._episodes[b] += 1
            self._steps[b] = 0
            composition, view = self._reset_game(b)
            frame.composition[b] = composition
            self._write(b, view, frame)

    def advance(self, action: Tensor, frame: Frame) -> None:
        """One step of every game; those that have ended stand still and pay nothing."""
        played, before = action.numpy(), self._frame
        going = torch.from_numpy(~self._ended)
        refuse_unavailable(
            first_unavailable(action, before.action_mask, going), played, before.action_mask, self.entity_spec
        )
        for name, tensor in vars(before).items():
            getattr(frame, name).copy_(tensor)
        frame.reward.zero_()
        for b in np.flatnonzero(~self._ended).tolist():
            self._actions[b, self._steps[b]] = played[b]
            self._write(b, self._step_game(b), frame)

    def memory(self) -> dict[str, Tensor]:
        """Seed and number of each row's episode, and the actions played in it."""
        saved = (self._seeds.view(np.int64), self._episodes, self._steps, self._actions)
        names = ("seeds", "episodes", "steps", "actions")
        return {name: torch.from_numpy(array.copy()) for name, array in zip(names, saved, strict=True)}

    def remember(self, memory: dict[str, Tensor]) -> None:
        """Play the episodes again up to where they were."""
        self._seeds = memory["seeds"].numpy().view(np.uint64).copy()
        steps = memory["steps"].numpy()
        for name, array in (("episodes", self._episodes), ("actions", self._actions)):
            array[...] = memory[name].numpy()
        for b in np.flatnonzero(self._episodes).tolist():
            self._steps[b] = 0
            _, view = self._reset_game(b)
            while self._steps[b] < steps[b]:
                view = self._step_game(b)
            self._ended[b] = view.terminated or view.truncated

    # ------------------------------------------------------------------ one game

    def _reset_game(self, b: int) -> tuple[int, View]:
        sequence = np.random.SeedSequence([int(self._seeds[b]), int(self._episodes[b])])
        draw, seed = (int(word) for word in sequence.generate_state(2))
        composition = draw % len(self.compositions)
        return composition, self._games[b].reset(composition, seed)

    def _step_game(self, b: int) -> View:
        view = self._games[b].step(self._actions[b, self._steps[b]])
        self._steps[b] += 1
        if self._steps[b] == self.entity_spec.max_steps and not view.terminated:
            view.truncated = True
        return view

    def _write(self, b: int, view: View, frame: Frame) -> None:
        a = self.entity_spec.n_agents
        present = self._array("present", view.present, tuple(frame.present[b].shape)).astype(bool)
        entities = self._array("entities", view.entities, tuple(frame.entities[b].shape))
        visible = np.outer(present[:a], present)
        if view.visible is not None:
            visible &= self._array("visible", view.visible, visible.shape).astype(bool)
        acts = visible.diagonal()[:, None]
        visible &= acts
        mask = np.broadcast_to(acts, tuple(frame.action_mask[b].shape)).copy()
        if view.action_mask is not None:
            mask &= self._array("action_mask", view.action_mask, mask.shape).astype(bool)
        mask[:, 0] |= ~acts[:, 0]
        if not mask.any(axis=1).all():
            raise ValueError(f"agent {int(mask.any(axis=1).argmin())} has no available action: action_mask needs one")
        filled = np.where(present[:, None], entities, 0.0)  # not a product: empty rows may hold NaN
        shown = {"entities": filled, "present": present, "visible": visible, "action_mask": mask}
        for name, array in shown.items():
            getattr(frame, name)[b] = torch.from_numpy(np.ascontiguousarray(array))
        for name in ("reward", "terminated", "truncated", "won"):
            getattr(frame, name)[b] = getattr(view, name)
        self._ended[b] = view.terminated or view.truncated

    @staticmethod
    def _array(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        if np.shape(array) != shape:
            raise ValueError(f"a game must show {name} of shape {shape}, got {np.shape(array)}")
        return np.asarray(array)
