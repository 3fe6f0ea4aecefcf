"""Frame: one step of all environments as tensors, with its form as a TensorDict and the specs of that form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import Binary, Categorical, Composite, Unbounded

from mipi_pl import spec as keys
from mipi_pl.spec import EntitySpec


@dataclass
class Frame:
    """One step of all environments as CPU tensors, which the world writes in place.

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
        """Allocate uninitialised tensors. The world must write every element of every row."""
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
        """Return a deep copy."""
        return Frame(**{name: value.clone() for name, value in vars(self).items()})

    def clear_flags(self, rows: Tensor) -> None:
        """Clear the end flags of the environments `rows`, bool [B]."""
        for flag in (self.terminated, self.truncated, self.won):
            flag.masked_fill_(rows, False)

    def observation(self, is_init: Tensor) -> dict[str, Tensor | TensorDict]:
        """Return the observation by key, without copies.

        Args:
            is_init: bool [B], environments whose episode begins with this frame.
        """
        agents = TensorDict(
            {"visible": self.visible, "action_mask": self.action_mask}, batch_size=self.visible.shape[:2]
        )
        return {
            keys.ENTITIES: self.entities,
            keys.PRESENT: self.present,
            keys.COMPOSITION: self.composition.unsqueeze(-1),
            keys.IS_INIT: is_init.unsqueeze(-1),
            keys.WON: self.won.unsqueeze(-1),
            "agents": agents,
        }

    def end_flags(self) -> dict[str, Tensor]:
        """Return done, terminated and truncated by key, bool [B, 1]."""
        return {
            keys.DONE: (self.terminated | self.truncated).unsqueeze(-1),
            keys.TERMINATED: self.terminated.unsqueeze(-1),
            keys.TRUNCATED: self.truncated.unsqueeze(-1),
        }


@dataclass(frozen=True)
class Specs:
    """The four specs that TorchRL asks of an environment."""

    observation: Composite
    action: Composite
    reward: Unbounded
    done: Composite


def specs_of(spec: EntitySpec, n_compositions: int, batch_size: torch.Size, device: torch.device) -> Specs:
    """Return the specs of the TensorDicts that an `EntityEnv` reads and writes.

    Args:
        spec: sizes of the world.
        n_compositions: number of compositions that `composition` indexes.
        batch_size: (B,), number of environments.
        device: device of the TensorDicts.
    """
    group = torch.Size([*batch_size, spec.n_agents])

    def flags(*sizes: int) -> Binary:
        return Binary(n=sizes[-1], shape=torch.Size([*batch_size, *sizes]), dtype=torch.bool, device=device)

    def numbers(*sizes: int) -> Unbounded:
        return Unbounded(torch.Size([*batch_size, *sizes]), dtype=torch.float32, device=device)

    def composite(content: dict[str, Any], shape: torch.Size = batch_size) -> Composite:
        return Composite(content, shape=shape, device=device)

    masks = {"visible": flags(spec.n_agents, spec.n_entities), "action_mask": flags(spec.n_agents, spec.n_actions)}
    observation = {
        keys.ENTITIES: numbers(spec.n_entities, spec.n_features),
        keys.PRESENT: flags(spec.n_entities),
        keys.COMPOSITION: Categorical(n_compositions, shape=(*batch_size, 1), dtype=torch.int64, device=device),
        keys.IS_INIT: flags(1),
        keys.WON: flags(1),
        "agents": composite(masks, group),
    }
    action = Categorical(spec.n_actions, shape=group, dtype=torch.int64, device=device)
    return Specs(
        observation=composite(observation),
        action=composite({"agents": composite({"action": action}, group)}),
        reward=numbers(1),
        done=composite({name: flags(1) for name in (keys.DONE, keys.TERMINATED, keys.TRUNCATED)}),
    )
