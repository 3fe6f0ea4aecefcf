"""EntityEnv: the base class of all environments of the project, a batched TorchRL environment.

A world implements five methods. `begin` and `advance` play and write directly into preallocated tensors, `seed_rows`
seeds each environment, `memory` and `remember` save and restore its state. `EntityEnv` implements the TorchRL side:
specs, partial resets, seeding and random available actions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.envs import EnvBase

from mipi_pl import spec as keys
from mipi_pl.envs.composition import Composition, refuse_compositions
from mipi_pl.envs.fault_handler import FaultHandler
from mipi_pl.envs.frame import Frame, specs_of
from mipi_pl.envs.plain_scene import plain_scene
from mipi_pl.envs.scene import Scene
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.checks import require_seed
from mipi_pl.utils.errors import first_line
from mipi_pl.utils.memory import require_memory


class EntityEnv(EnvBase):
    """B independent episodes of an entity world, stepped as one batch.

    `mipi_pl.spec` defines the keys and shapes of the TensorDict. A world derives from this class and implements

    * ``begin(rows, frame)``: start a new episode in the rows that are True and write their first observation,
    * ``advance(action, frame)``: play one step in all rows and write every field of every row,
    * ``seed_rows(seeds)``: set one 64-bit seed per environment,
    * ``memory()`` and ``remember(memory)``: save the complete state between two steps as tensors, and restore it; an
      evaluation also calls them before the first episode, to play the same episodes again,
    * ``draw_only(sizes)``, if its team sizes can follow a schedule,
    * ``scene(index)``, for pictures other than the plain one of the positions that the spec names,
    * ``scripted`` and ``make_scripted(name, seed)``, if it has scripted policies.

    The episodes of an environment depend only on its own seed, never on its neighbours or the number of threads.

    Args:
        spec: sizes of the world.
        compositions: compositions that the observation `composition` indexes.
        num_envs: B.
        seed: seed of all environments. Equal seeds and actions give equal rollouts, bit for bit.
        device: device of the returned tensors. The world itself runs on the CPU.

    Attributes:
        winnable: whether an episode can be won. If not, `won` has no meaning and policies are judged by their return.
        scripted: names of the scripted policies that a learned policy can be compared with.
        resumable: whether `remember` restores the running episodes. If not, they end as truncated.
        max_evaluation_envs: maximum number of episodes stepped at once in an evaluation; further episodes follow.
        team_arguments: constructor arguments that only select which teams play.
        neutral_arguments: constructor arguments that change neither the rules nor the teams.
        withheld: compositions that the world keeps out of training, for evaluation.
        checked: whether each frame is checked for NaN, masks without an action, agents that cannot act, and seen slots
            that are empty. The compiled worlds of this project are not: their tests establish the contract.
        tolerant: whether a fault of the world ends only its own episode, as truncated and with a reward of NaN, after
            which the episode is thrown away; set for training and evaluation. If not, a fault raises an exception.

    Raises:
        ValueError: if `num_envs` is below 1, there are no compositions, one of them is empty, `device` cannot be used,
            or the environments do not fit into the memory of this machine.
    """

    winnable: bool = True
    scripted: tuple[str, ...] = ()
    resumable: bool = True
    max_evaluation_envs: int = 256
    team_arguments: tuple[str, ...] = ("team_sizes",)
    neutral_arguments: tuple[str, ...] = ("device",)
    withheld: tuple[Composition, ...] = ()
    checked: bool = True
    tolerant: bool = False

    def __init__(
        self,
        spec: EntitySpec,
        compositions: Sequence[Composition],
        num_envs: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        refuse_compositions(compositions, self.team_arguments)
        require_memory(
            f"{num_envs:,} environments of {spec.n_entities:,} entities each",
            3 * num_envs * spec.step_bytes,  # the frame, its copy, and TorchRL's
            "lower num_envs or the sizes of the world",
        )
        super().__init__(device=_usable(device), batch_size=torch.Size([num_envs]), run_type_checks=False)
        self.entity_spec = spec
        self.compositions = tuple(compositions)
        self.num_envs = num_envs
        self._frame = Frame.empty(num_envs, spec)
        self._has_begun = False
        self._faults = FaultHandler(num_envs)
        specs = specs_of(spec, len(self.compositions), self.batch_size, self.device)
        self.observation_spec, self.action_spec = specs.observation, specs.action
        self.reward_spec, self.done_spec = specs.reward, specs.done
        self.set_seed(seed)

    # ------------------------------------------------------------------ methods that a world implements

    @abstractmethod
    def begin(self, rows: Tensor, frame: Frame) -> None:
        """Start an episode where `rows` (bool [B]) is True and write the observation of those rows into `frame`.

        The caller clears `terminated`, `truncated` and `won` of those rows.
        """

    @abstractmethod
    def advance(self, action: Tensor, frame: Frame) -> None:
        """Play `action` (int64 [B, A]) and write every field of `frame`.

        Raises:
            ValueError: if an action is not available. The message names the environment, the agent and the action.
        """

    def give_up(self, index: int, reason: str) -> None:
        """Report in `begin` or `advance` that the world failed in environment `index`, with a reason for the user.

        Its part of the frame is ignored, and the next call of `begin` includes it. An environment that is not `checked`
        raises WorldFaultError instead.
        """
        self._faults.given_up[index] = reason

    @abstractmethod
    def seed_rows(self, seeds: np.ndarray) -> None:
        """Seed each environment with one of `seeds` (uint64 [B])."""

    @abstractmethod
    def memory(self) -> dict[str, Tensor]:
        """Return copies of all state that later steps depend on, including random generators; shapes [B, ...]."""

    @abstractmethod
    def remember(self, memory: dict[str, Tensor]) -> None:
        """Restore the state that `memory` returned for the same scenario. The caller has checked the shapes."""

    def draw_only(self, sizes: Collection[int]) -> None:
        """Draw only compositions of these team sizes in the episodes that begin from now on.

        It is no part of `memory`: a datamodule calls it again when a run is resumed.

        Raises:
            ValueError: if no composition has one of the sizes.
        """
        raise NotImplementedError(
            f"{type(self).__name__} draws from all of its team sizes: implement its method draw_only"
        )

    def make_scripted(self, name: str, seed: int) -> Callable[[TensorDictBase], TensorDictBase]:
        """Return the scripted policy `name`, one of `scripted`, for the episodes of this environment."""
        raise NotImplementedError(name)

    def scene(self, index: int) -> Scene:
        """Return the current state of environment `index` for drawing. Only pictures and videos use it.

        By default, a plain picture of the positions, if the spec names them (`mipi_pl.envs.plain_scene.POSITIONS`).

        Raises:
            NotImplementedError: if it does not.
        """
        return plain_scene(self.entity_spec, self._frame, index, type(self).__name__)

    # ------------------------------------------------------------------ scripted policies

    def scripted_policy(self, name: str, seed: int = 0) -> Callable[[TensorDictBase], TensorDictBase]:
        """Return a scripted policy, which writes ``("agents", "action")``.

        Args:
            name: one of `scripted`.
            seed: random seed of the policy, if it draws actions.

        Raises:
            ValueError: if this world has no such policy.
        """
        self.require_scripted(name)
        return self.make_scripted(name, seed)

    def require_scripted(self, name: str) -> None:
        """Check that this world has a scripted policy.

        Raises:
            ValueError: if it has no policy of this name.
        """
        if name not in self.scripted:
            known = f"scripted policies of this world are {', '.join(self.scripted)}"
            raise ValueError(f"{known if self.scripted else 'this world has no scripted policies'}, got {name!r}")

    # ------------------------------------------------------------------ state

    def get_extra_state(self) -> dict[str, dict[str, Tensor]]:
        """Return the world's state, its last observation and the steps of each episode, as copies in plain tensors."""
        frame = {name: tensor.clone() for name, tensor in vars(self._frame).items()}
        counts = {"played": torch.from_numpy(self._faults.played.copy())}
        return {"world": self.memory(), "frame": frame, "counts": counts}

    def set_extra_state(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Restore what `get_extra_state` returned, bit for bit.

        Older states have no ``counts``: the steps of the running episodes are then counted from here, unless the world
        knows them.

        Raises:
            ValueError: if the state comes from an environment with other shapes.
        """
        for part, current in self.get_extra_state().items():
            if part == "counts" and part not in state:
                continue
            for name, tensor in current.items():
                saved = state[part][name]
                if saved.shape != tensor.shape:
                    raise ValueError(
                        f"the saved state has {name} of shape {tuple(saved.shape)}, but this environment needs "
                        f"{tuple(tensor.shape)}: create it with the same num_envs and scenario as the saved one"
                    )
        self._faults.played[:] = 0
        self.remember(state["world"])
        if "counts" in state:
            self._faults.played[:] = state["counts"]["played"].numpy()
        self._frame = Frame(**{name: tensor.clone() for name, tensor in state["frame"].items()})
        self._has_begun = True

    # ------------------------------------------------------------------ TorchRL

    def _reset(self, tensordict: TensorDictBase | None = None, **_: object) -> TensorDictBase:
        rows = tensordict.get("_reset", None) if tensordict is not None else None
        if rows is None:
            rows = torch.ones(self.num_envs, dtype=torch.bool)
        rows = rows.reshape(self.num_envs).cpu()
        # Rows that are not reset keep their observation, so the new frame starts as a copy of the last one.
        frame = self._frame.clone()
        self._faults.begin(self, rows, frame, self._frame)
        self._frame, self._has_begun = frame, True
        return self._pack({**frame.observation(rows), **frame.end_flags()})

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        frame = Frame.empty(self.num_envs, self.entity_spec)
        action = tensordict.get(keys.ACTION).cpu()
        reward = self._faults.advance(self, action, frame, self._frame)
        self._frame = frame
        observation = frame.observation(torch.zeros(self.num_envs, dtype=torch.bool))
        return self._pack({**observation, keys.REWARD: reward.unsqueeze(-1), **frame.end_flags()})

    def _pack(self, content: dict[str, Tensor | TensorDict]) -> TensorDict:
        td = TensorDict(content, batch_size=self.batch_size)
        return td if self.device.type == "cpu" else td.to(self.device)

    def _set_seed(self, seed: int | None) -> None:
        if seed is not None:
            require_seed(seed)
        self.seed_rows(np.random.SeedSequence(seed).generate_state(self.num_envs, dtype=np.uint64))

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Draw uniformly from the available actions. TorchRL's own implementation ignores masks.

        Args:
            tensordict: holds the current observation; None uses the last observation of the environment.

        Raises:
            RuntimeError: if no episode has begun.
        """
        if tensordict is None:
            if not self._has_begun:
                raise RuntimeError("no episode has begun, so no action is available: call reset first")
            tensordict = self._pack(self._frame.observation(torch.zeros(self.num_envs, dtype=torch.bool)))
        mask = tensordict.get(keys.ACTION_MASK)
        flat = mask.reshape(-1, mask.shape[-1]).float()
        tensordict.set(keys.ACTION, torch.multinomial(flat, 1).reshape(mask.shape[:-1]))
        return tensordict


class MakeEnv(Protocol):
    """A factory of environments, such as an environment class or a config that accepts changed arguments."""

    def __call__(self, *, num_envs: int, seed: int, **changes: Any) -> EntityEnv:
        """Create an environment.

        Args:
            num_envs: number of environments to step at once.
            seed: random seed.
            changes: other arguments, which replace those of the config.
        """
        ...


def _usable(device: str | torch.device) -> torch.device:
    try:
        usable = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch was built without this kind of device
        raise ValueError(f"device must be one that PyTorch can use here, got {device} ({first_line(error)})") from error
    if usable.type == "meta":
        raise ValueError(f"device must be one that PyTorch can use here, got {device}, which holds no numbers")
    return usable
