"""SteppedEnv: adapter from environments that play one episode at a time to a batched `EntityEnv`.

It is meant for existing environments (PettingZoo, VMAS, ...): a wrapper only has to return the state as arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mipi_pl.envs.actions import first_unavailable, refuse_unavailable
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.composition import Composition, drawn_of, refuse_compositions
from mipi_pl.envs.faults import NOT_OF_THE_WORLD, array_of, flag_of, mask_of, number_of, reason_of
from mipi_pl.envs.frame import Frame
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.errors import WorldFaultError


@dataclass
class View:
    """Observation, reward and end flags of one game after a reset or a step, as numpy arrays.

    Attributes:
        entities: [E, F], agent slots first. Rows of empty slots are ignored.
        present: [E] bool, whether the slot is filled.
        visible: [A, E] bool; None means that every present agent sees every present entity. An agent that does not see
            itself (a dead one) does not act.
        action_mask: [A, U] bool; None makes all actions available to agents that act. Other agents always have the
            first action only.
        reward: team reward of the step.
        terminated: whether the episode is over.
        truncated: whether the episode was cut off. Before the time limit of the spec this means a fault.
        won: whether the episode was won; without meaning in worlds that cannot be won.
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
    """An environment that plays one episode at a time.

    Equal compositions, seeds and actions must give equal episodes.
    """

    def reset(self, composition: int, seed: int) -> View:
        """Start an episode of the composition with this index."""
        ...

    def step(self, action: np.ndarray) -> View:
        """Play one step. `action` is int64 [A]; all actions are available, those of empty slots are 0."""
        ...


class SteppedEnv(EntityEnv):
    """B games as one batched environment, stepped one after the other.

    Each episode draws one of the compositions uniformly and is truncated after `max_steps`. The saved state of an
    episode is its seed and its actions, and its composition after `draw_only`. Restoring it replays the actions, so
    games need not support copying.

    Args:
        spec: sizes of the world.
        compositions: teams that episodes draw from.
        make_game: factory of games; called B times.
        num_envs: B.
        seed: seed of all episodes.
        device: device of the returned tensors; games run on the CPU.

    Raises:
        ValueError: if there are no teams, one is empty or has more agents than there are slots, or an action is not
            available.
        WorldFaultError: if a game returns something else than `View` describes. A `tolerant` environment ends the
            episode instead, also if the game raises an exception.
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
        refuse_compositions(compositions, self.team_arguments)  # before any game is made
        largest = max(composition.size for composition in compositions)
        if largest > spec.n_agents:
            raise ValueError(
                f"env.team_sizes must not exceed capacity {spec.n_agents}, the number of agent slots; got {largest}"
            )
        self._games = [make_game() for _ in range(num_envs)]
        self._episodes, self._steps = np.zeros(num_envs, dtype=np.int64), np.zeros(num_envs, dtype=np.int64)
        self._ended = np.zeros(num_envs, dtype=bool)
        self._drawn = list(range(len(compositions)))
        self._playing: np.ndarray | None = None  # composition of each episode; None if all are drawn, always
        self._actions = np.zeros((num_envs, spec.max_steps, spec.n_agents), dtype=np.int64)
        super().__init__(spec, compositions, num_envs, seed, device)

    def seed_rows(self, seeds: np.ndarray) -> None:
        """Set the seed of each row. Episode k of a row depends only on this seed and k."""
        self._seeds = seeds.copy()
        self._episodes[:] = 0

    def begin(self, rows: Tensor, frame: Frame) -> None:
        """Start new episodes in the rows that are True."""
        if self._playing is not None:
            self._playing[rows.numpy()] = -1
        for b in rows.nonzero().flatten().tolist():
            self._episodes[b] += 1
            self._steps[b] = 0
            with self._blamed(b, "reset"):
                composition, view = self._reset_game(b)
                frame.composition[b] = composition
                self._write(b, view, frame)

    def advance(self, action: Tensor, frame: Frame) -> None:
        """Play one step in every running game. Ended games keep their observation and have reward 0."""
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
            with self._blamed(b, "step"):
                self._write(b, self._step_game(b), frame)

    @contextmanager
    def _blamed(self, b: int, method: str) -> Iterator[None]:
        """Give up the episode of row b if its game fails; the other games go on."""
        try:
            yield
        except NOT_OF_THE_WORLD:
            raise
        except Exception as error:
            if not (self.tolerant or isinstance(error, WorldFaultError)):
                raise  # used directly, the traceback into the game is more helpful
            self._ended[b] = True
            self.give_up(b, reason_of(error, f"{type(self._games[b]).__name__}.{method}"))

    def draw_only(self, sizes: Collection[int]) -> None:
        """Draw only compositions of these team sizes in the episodes that begin from now on."""
        if self._playing is None:
            self._playing = np.full(self.num_envs, -1)
        self._drawn = drawn_of(self.compositions, sizes)

    def memory(self) -> dict[str, Tensor]:
        """Return the seed, the episode number, the step and the played actions of each row."""
        saved = {
            "seeds": self._seeds.view(np.int64),
            "episodes": self._episodes,
            "steps": self._steps,
            "actions": self._actions,
            **({} if self._playing is None else {"playing": self._playing}),
        }
        return {name: torch.from_numpy(array.copy()) for name, array in saved.items()}

    def remember(self, memory: dict[str, Tensor]) -> None:
        """Replay the running episodes up to their saved step."""
        self._seeds = memory["seeds"].numpy().view(np.uint64).copy()
        steps = memory["steps"].numpy()
        for name, array in (("episodes", self._episodes), ("actions", self._actions)):
            array[...] = memory[name].numpy()
        if "playing" in memory:
            self._playing = memory["playing"].numpy().copy()
        for b in np.flatnonzero(self._episodes).tolist():
            self._steps[b] = 0
            _, view = self._reset_game(b)
            while self._steps[b] < steps[b]:
                view = self._step_game(b)
            self._faults.played[b] = steps[b]
            self._ended[b] = view.terminated or view.truncated

    # ------------------------------------------------------------------ one game

    def _reset_game(self, b: int) -> tuple[int, View]:
        sequence = np.random.SeedSequence([int(self._seeds[b]), int(self._episodes[b])])
        draw, seed = (int(word) for word in sequence.generate_state(2))
        composition = self._drawn[draw % len(self._drawn)]
        if self._playing is not None:
            if self._playing[b] >= 0:  # a running episode that is played again
                composition = int(self._playing[b])
            self._playing[b] = composition
        return composition, _outcome_checked(self._games[b].reset(composition, seed))

    def _step_game(self, b: int) -> View:
        view = _outcome_checked(self._games[b].step(self._actions[b, self._steps[b]]))
        self._steps[b] += 1
        if self._steps[b] == self.entity_spec.max_steps and not view.terminated:
            view.truncated = True
        return view

    def _write(self, b: int, view: View, frame: Frame) -> None:
        a = self.entity_spec.n_agents
        present = mask_of("present", view.present, tuple(frame.present[b].shape))
        entities = array_of("entities", view.entities, tuple(frame.entities[b].shape))
        visible = np.outer(present[:a], present)
        if view.visible is not None:
            visible &= mask_of("visible", view.visible, visible.shape)
        acts = visible.diagonal()[:, None]
        visible &= acts
        mask = np.broadcast_to(acts, tuple(frame.action_mask[b].shape)).copy()
        if view.action_mask is not None:
            mask &= mask_of("action_mask", view.action_mask, mask.shape)
        mask[:, 0] |= ~acts[:, 0]
        filled = np.where(present[:, None], entities, 0.0)  # not a product: rows of empty slots may hold NaN
        observation = {"entities": filled, "present": present, "visible": visible, "action_mask": mask}
        for name, array in observation.items():
            getattr(frame, name)[b] = torch.from_numpy(np.ascontiguousarray(array))
        for name in ("reward", "terminated", "truncated", "won"):
            getattr(frame, name)[b] = getattr(view, name)
        self._ended[b] = view.terminated or view.truncated


def _outcome_checked(view: View) -> View:
    """Return the view with its reward and flags as plain numbers.

    Raises:
        WorldFaultError: if one of them is not a single number, or the game has returned something else.
    """
    if not isinstance(view, View):
        raise WorldFaultError(f"a game must return a mipi_pl.envs.stepped.View, got {type(view).__name__}")
    with np.errstate(over="ignore"):  # infinity is reported
        reward = float(np.float32(number_of("reward", view.reward)))
    return replace(
        view,
        reward=reward,
        terminated=flag_of("terminated", view.terminated),
        truncated=flag_of("truncated", view.truncated),
        won=flag_of("won", view.won),
    )
