"""EntityEnv: the batched TorchRL environment that every world of the project is.

A world implements five methods. `begin` and `advance` play: they write straight into preallocated tensors. `seed_rows`
seeds each environment. `memory` and `remember` save and restore everything that the next steps depend on. What TorchRL
wants (specs, partial resets, seeding, random legal actions) is here once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase

from mipi_pl import spec as keys
from mipi_pl.envs.composition import Composition
from mipi_pl.envs.scene import Scene
from mipi_pl.spec import EntitySpec


@dataclass
class Frame:
    """The tensors of one step of all environments, on the CPU, written in place by the world.

    Shapes: entities [B,E,F] float32; present [B,E], visible [B,A,E], action_mask [B,A,U] bool;
    composition [B] int64; reward [B] float32; terminated, truncated, won [B] bool.
    """

    entities: Tensor
    present: Tensor
    visible: Tensor
    action_mask: Tensor
    composition: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    won: Tensor

    @classmethod
    def empty(cls, n_envs: int, spec: EntitySpec) -> Frame:
        """Uninitialised memory: the world writes every element of every row."""
        b, a, e = n_envs, spec.n_agents, spec.n_entities
        return cls(
            entities=torch.empty(b, e, spec.n_features),
            present=torch.empty(b, e, dtype=torch.bool),
            visible=torch.empty(b, a, e, dtype=torch.bool),
            action_mask=torch.empty(b, a, spec.n_actions, dtype=torch.bool),
            composition=torch.empty(b, dtype=torch.int64),
            reward=torch.empty(b),
            terminated=torch.empty(b, dtype=torch.bool),
            truncated=torch.empty(b, dtype=torch.bool),
            won=torch.empty(b, dtype=torch.bool),
        )

    def clone(self) -> Frame:
        """A copy in new memory."""
        return Frame(**{name: value.clone() for name, value in vars(self).items()})


class EntityEnv(EnvBase):
    """B independent episodes of an entity world, stepped at once (the TensorDict contract is in `mipi_pl.spec`).

    A world derives from this class and implements

    * ``begin(rows, frame)``: start a new episode in the rows that are True and write their first observation,
    * ``advance(action, frame)``: one step of all rows; write every field of every row,
    * ``seed_rows(seeds)``: take one 64-bit seed per environment,
    * ``memory()``: all it knows between two steps, as tensors,
    * ``remember(memory)``: go on from there,
    * if its episodes can be looked at, ``scene(index)``,
    * if there are scripted policies, their names in ``scripted`` and ``make_scripted(name, seed)``.

    Episodes of one environment depend on its own seed alone, never on its neighbours or the number of threads.

    Args:
        spec: the sizes of the world.
        compositions: what `composition` counts.
        num_envs: B.
        seed: seeds all environments; equal seeds and actions give equal rollouts, bit for bit.
        device: where the returned tensors live; the world itself runs on the CPU.

    Attributes:
        winnable: whether `won` means anything here; where it does not, policies are judged by their return.
        scripted: names of the scripted policies that a learned one can be compared with.
        resumable: whether `remember` brings back the episodes under way; where not, they end as truncated.
        max_evaluation_envs: episodes stepped at once in an evaluation; the others are played after them.
        team_arguments: the constructor's arguments that say which teams play and nothing else.
        withheld: compositions that the world keeps out of training, for evaluation.
    """

    winnable: bool = True
    scripted: tuple[str, ...] = ()
    resumable: bool = True
    max_evaluation_envs: int = 256
    team_arguments: tuple[str, ...] = ("team_sizes",)
    withheld: tuple[Composition, ...] = ()

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
        super().__init__(device=torch.device(device), batch_size=torch.Size([num_envs]), run_type_checks=False)
        self.entity_spec = spec
        self.compositions = tuple(compositions)
        self.num_envs = num_envs
        self._frame = Frame.empty(num_envs, spec)
        self._make_specs()
        self.set_seed(seed)

    # ------------------------------------------------------------------ for the world to implement

    @abstractmethod
    def begin(self, rows: Tensor, frame: Frame) -> None:
        """Start an episode where `rows` (bool [B]) is True and write the observation of those rows into `frame`.

        Rewards and ends of a first observation are written by the caller.
        """

    @abstractmethod
    def advance(self, action: Tensor, frame: Frame) -> None:
        """Play `action` (int64 [B, A]) and write every field of `frame`.

        Raises:
            ValueError: if an action is not available; the message names environment, agent and action.
        """

    @abstractmethod
    def seed_rows(self, seeds: np.ndarray) -> None:
        """Seed each environment: uint64 [B]."""

    @abstractmethod
    def memory(self) -> dict[str, Tensor]:
        """Copies of everything that the next steps depend on, the random generators included; rows first."""

    @abstractmethod
    def remember(self, memory: dict[str, Tensor]) -> None:
        """Go on from what `memory` gave in an environment of the same scenario; the sizes have been checked."""

    def make_scripted(self, name: str, seed: int) -> Callable[[TensorDictBase], TensorDictBase]:
        """The policy of this name, one of `scripted`, for the episodes of this environment."""
        raise NotImplementedError(name)

    def scene(self, index: int) -> Scene:
        """Environment `index` as it stands, to be drawn; nothing else depends on it."""
        raise NotImplementedError(f"{type(self).__name__} has no pictures: implement its method scene")

    # ------------------------------------------------------------------ for its users

    def scripted_policy(self, name: str, seed: int = 0) -> Callable[[TensorDictBase], TensorDictBase]:
        """A scripted policy, which writes ``("agents", "action")``.

        Args:
            name: one of `scripted`.
            seed: of a policy that draws at random.

        Raises:
            ValueError: if there is no such policy here.
        """
        if name not in self.scripted:
            known = f"of this world are {', '.join(self.scripted)}" if self.scripted else "do not exist in this world"
            raise ValueError(f"scripted policies {known}, got {name!r}")
        return self.make_scripted(name, seed)

    # ------------------------------------------------------------------ state

    def get_extra_state(self) -> dict[str, dict[str, Tensor]]:
        """The world and its last observation, for ``state_dict``; copies, plain tensors."""
        frame = {name: tensor.clone() for name, tensor in vars(self._frame).items()}
        return {"world": self.memory(), "frame": frame}

    def set_extra_state(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Go on from what `get_extra_state` gave, bit for bit.

        Raises:
            ValueError: if it is of an environment of other sizes.
        """
        for part, now in self.get_extra_state().items():
            for name, tensor in now.items():
                saved = state[part][name]
                if saved.shape != tensor.shape:
                    raise ValueError(
                        f"the saved state has {name} of shape {tuple(saved.shape)}, this environment of "
                        f"{tuple(tensor.shape)}: make it with the same num_envs and scenario"
                    )
        self.remember(state["world"])
        self._frame = Frame(**{name: tensor.clone() for name, tensor in state["frame"].items()})

    # ------------------------------------------------------------------ TorchRL

    def _make_specs(self) -> None:
        spec, shape = self.entity_spec, self.batch_size
        group = torch.Size([*shape, spec.n_agents])

        def flag(*sizes: int) -> Binary:
            size = torch.Size([*shape, *sizes])
            return Binary(n=size[-1], shape=size, dtype=torch.bool, device=self.device)

        agents = Composite(
            visible=flag(spec.n_agents, spec.n_entities),
            action_mask=flag(spec.n_agents, spec.n_actions),
            shape=group,
            device=self.device,
        )
        self.observation_spec = Composite(
            {
                keys.ENTITIES: Unbounded(
                    torch.Size([*shape, spec.n_entities, spec.n_features]), dtype=torch.float32, device=self.device
                ),
                keys.PRESENT: flag(spec.n_entities),
                keys.COMPOSITION: Categorical(
                    len(self.compositions), shape=torch.Size([*shape, 1]), dtype=torch.int64, device=self.device
                ),
                keys.IS_INIT: flag(1),
                keys.WON: flag(1),
                "agents": agents,
            },
            shape=shape,
            device=self.device,
        )
        action = Categorical(spec.n_actions, shape=group, dtype=torch.int64, device=self.device)
        self.action_spec = Composite(
            agents=Composite(action=action, shape=group, device=self.device), shape=shape, device=self.device
        )
        self.reward_spec = Unbounded(torch.Size([*shape, 1]), dtype=torch.float32, device=self.device)
        self.done_spec = Composite(done=flag(1), terminated=flag(1), truncated=flag(1), shape=shape, device=self.device)

    def _observation(self, frame: Frame, is_init: Tensor) -> dict[str, Tensor | TensorDict]:
        agents = TensorDict(
            {"visible": frame.visible, "action_mask": frame.action_mask},
            batch_size=(self.num_envs, self.entity_spec.n_agents),
        )
        return {
            keys.ENTITIES: frame.entities,
            keys.PRESENT: frame.present,
            keys.COMPOSITION: frame.composition.unsqueeze(-1),
            keys.IS_INIT: is_init.unsqueeze(-1),
            keys.WON: frame.won.unsqueeze(-1),
            "agents": agents,
        }

    @staticmethod
    def _ends_of(frame: Frame) -> dict[str, Tensor]:
        return {
            keys.DONE: (frame.terminated | frame.truncated).unsqueeze(-1),
            keys.TERMINATED: frame.terminated.unsqueeze(-1),
            keys.TRUNCATED: frame.truncated.unsqueeze(-1),
        }

    def _reset(self, tensordict: TensorDictBase | None = None, **_: object) -> TensorDictBase:
        rows = tensordict.get("_reset", None) if tensordict is not None else None
        if rows is None:
            rows = torch.ones(self.num_envs, dtype=torch.bool)
        rows = rows.reshape(self.num_envs).cpu()
        # Rows that go on keep their observation, so the new frame starts as a copy of the last one.
        frame = self._frame.clone()
        for ended in (frame.terminated, frame.truncated, frame.won):
            ended.masked_fill_(rows, False)
        self.begin(rows, frame)
        self._frame = frame
        return self._pack({**self._observation(frame, rows), **self._ends_of(frame)})

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        frame = Frame.empty(self.num_envs, self.entity_spec)
        self.advance(tensordict.get(keys.ACTION).cpu(), frame)
        self._frame = frame
        observation = self._observation(frame, torch.zeros(self.num_envs, dtype=torch.bool))
        return self._pack({**observation, keys.REWARD: frame.reward.unsqueeze(-1), **self._ends_of(frame)})

    def _pack(self, content: dict[str, Tensor | TensorDict]) -> TensorDict:
        td = TensorDict(content, batch_size=self.batch_size)
        return td if self.device.type == "cpu" else td.to(self.device)

    def _set_seed(self, seed: int | None) -> None:
        self.seed_rows(np.random.SeedSequence(seed).generate_state(self.num_envs, dtype=np.uint64))

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Uniform over the available actions (TorchRL's own draw ignores masks).

        Args:
            tensordict: holds the current observation; None takes the environment's own.
        """
        if tensordict is None:
            tensordict = self._pack(self._observation(self._frame, torch.zeros(self.num_envs, dtype=torch.bool)))
        mask = tensordict.get(keys.ACTION_MASK)
        flat = mask.reshape(-1, mask.shape[-1]).float()
        tensordict.set(keys.ACTION, torch.multinomial(flat, 1).reshape(mask.shape[:-1]))
        return tensordict
