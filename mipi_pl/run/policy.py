"""A loaded policy for a loop of the user's own: ``action = policy(observation)``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.actor import Actor
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.errors import UserError, first_line

_ENTRIES: dict[str, str | tuple[str, str]] = {
    "entities": keys.ENTITIES,
    "visible": keys.VISIBLE,
    "action_mask": keys.ACTION_MASK,
}
"""Entries of an observation, by their names in a flat dictionary."""
_TYPES = {"entities": torch.float32, "visible": torch.bool, "action_mask": torch.bool}


class Policy:
    """Chooses actions for one environment, or for B at once, and keeps their recurrent states.

    An observation is the TensorDict of an environment of this program, or a dictionary of tensors or arrays:

    ===============  ==================================================================================
    ``entities``     float [B, E, F]: features of the entities, the agents first; zeros in empty slots
    ``visible``      bool [B, A, E]: which entities each agent sees; an agent that acts sees itself
    ``action_mask``  bool [B, A, U]: which actions are available to each agent
    ``is_init``      bool [B], optional: True where an episode begins; the state is then forgotten
    ===============  ==================================================================================

    ``visible`` and ``action_mask`` may be in a dictionary ``agents``. Without the axis B, they are of one environment.

    Args:
        actor: the actor of an algorithm.
        spec: sizes of the environment that the policy was trained in.
        path: file that the policy was loaded from.
        record: config and provenance of the run that trained it.

    Attributes:
        actor: the policy as a module on TensorDicts, for TorchRL: ``td = policy.actor(td)`` writes
            ``("agents", "action")`` and reads ``is_init``. It shares the recurrent state.
        spec: sizes of the environment.
        path: file.
        config: config of the run.
        frames: environment steps that the policy was trained for.

    Examples:
        >>> import mipi_pl
        >>> env, policy = mipi_pl.make_env("sz", num_envs=2), mipi_pl.load_policy("quickstart")
        >>> policy.reset(2)
        >>> policy(env.reset()).shape
        torch.Size([2, 8])
    """

    def __init__(self, actor: Actor, spec: EntitySpec, path: Path, record: Mapping[str, Any]) -> None:
        self.actor, self.spec, self.path = actor, spec, path
        self.config: Mapping[str, Any] = record["config"]
        self.frames: int = record["frames"]
        self._fresh = True
        self._num_envs: int | None = None
        self._n_agents = 0

    def __repr__(self) -> str:
        name = self.config["run"]["name"]
        return f"Policy({name} after {self.frames:,} frames, {'greedy' if self.actor.greedy else 'sampling'})"

    def reset(self, n: int | None = None) -> None:
        """Forget the recurrent states, so that the next observations begin episodes.

        Args:
            n: number of environments from now on; None takes it from the next observation.

        Raises:
            UserError: if `n` is not positive.
        """
        if n is not None and n < 1:
            raise UserError(f"a policy acts in at least 1 environment, got {n}")
        self._fresh, self._num_envs = True, n

    def __call__(self, observation: Mapping[str, Any] | TensorDictBase) -> Tensor:
        """Choose an action for every agent.

        Args:
            observation: see the class.

        Returns:
            int64 [B, A], or [A] for the observation of one environment. Agents that do not act have action 0.

        Raises:
            UserError: if an entry is missing, has another shape or features that are not finite, or the number of
                environments or of agent slots has changed without `reset`.
        """
        td, is_single = self._read(observation)
        count = td.batch_size[0]
        if self._num_envs is not None and count != self._num_envs:
            raise UserError(
                f"expected observations of {self._num_envs} environments, as since the last reset, got {count}: call "
                f"policy.reset({count}) to begin new episodes"
            )
        self._num_envs = count
        begins = td.get(keys.IS_INIT, None)
        begins = (torch.zeros(count, 1, dtype=torch.bool) if begins is None else begins) | self._fresh
        n_agents = td["agents"].batch_size[1]
        if n_agents != self._n_agents and not begins.all():
            raise UserError(
                f"expected {self._n_agents} agent slots, as since the last reset, got {n_agents}: keep the slots of "
                "dead agents, which see nothing, or call policy.reset() to begin new episodes"
            )
        self._n_agents = n_agents
        td.set(keys.IS_INIT, begins)
        self._fresh = False
        action: Tensor = self.actor(td).get(keys.ACTION)
        return action[0] if is_single else action

    def _read(self, observation: Mapping[str, Any] | TensorDictBase) -> tuple[TensorDict, bool]:
        """Return the observation [B] as a TensorDict of its own, and whether it had no axis B."""
        given = {name: _entry(observation, name, key) for name, key in _ENTRIES.items()}
        if missing := [name for name, value in given.items() if value is None]:
            raise UserError(f"an observation has entities, visible and action_mask; missing: {', '.join(missing)}")
        tensors = {name: _tensor(name, value, _TYPES[name]) for name, value in given.items()}
        is_single = tensors["entities"].dim() == 2
        if is_single:
            tensors = {name: tensor.unsqueeze(0) for name, tensor in tensors.items()}
        self._check(tensors)
        count, n_agents = tensors["visible"].shape[:2]
        agents = TensorDict({name: tensors[name] for name in ("visible", "action_mask")}, [count, n_agents])
        td = TensorDict({keys.ENTITIES: tensors["entities"], "agents": agents}, [count])
        begins = _entry(observation, keys.IS_INIT, keys.IS_INIT)
        if begins is not None:
            begins = _tensor(keys.IS_INIT, begins, torch.bool).cpu()
            if begins.numel() != count:
                raise UserError(f"expected is_init of {count} environments, got the shape {list(begins.shape)}")
            td.set(keys.IS_INIT, begins.reshape(count, 1))
        return td, is_single

    def _check(self, tensors: Mapping[str, Tensor]) -> None:
        """Refuse tensors whose shapes do not fit together or to the policy."""
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        kinds = self.actor.agent.kinds
        fits = all(len(shape) == 3 for shape in shapes.values())
        if fits:
            count, n_entities, features = shapes["entities"]
            n_agents = shapes["visible"][1]
            n_actions = len(kinds.of_actions(n_agents, n_entities)) - 1 if n_agents <= n_entities else 0
            wanted = {
                "entities": (count, n_entities, self.spec.n_features),
                "visible": (count, n_agents, n_entities),
                "action_mask": (count, n_agents, n_actions),
            }
            fits = shapes == wanted and features == self.spec.n_features
        if fits and not kinds.targets:  # without target actions, the policy is bound to its numbers of slots
            fits = shapes["visible"][1:] == (self.spec.n_agents, self.spec.n_entities)
        if not fits:
            spec = self.spec
            raise UserError(
                "the shapes of an observation must be entities [B, E, F], visible [B, A, E] and action_mask [B, A, U], "
                f"or the same without B; the policy was trained with F={spec.n_features}, A={spec.n_agents}, "
                f"E={spec.n_entities} and U={spec.n_actions}; got "
                + ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            )


def _entry(observation: Mapping[str, Any] | TensorDictBase, name: str, key: str | tuple[str, str]) -> Any:
    """Return an entry under its flat name or in the dictionary ``agents``; None if it is missing."""
    if isinstance(observation, TensorDictBase):
        found = observation.get(key, None)
        return observation.get(name, None) if found is None else found
    if name in observation or isinstance(key, str):
        return observation.get(name)
    agents = observation.get(key[0])
    return agents.get(key[1]) if isinstance(agents, (Mapping, TensorDictBase)) else None


def _tensor(name: str, value: Any, dtype: torch.dtype) -> Tensor:
    try:
        return torch.as_tensor(value).to(dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"expected {name} as a tensor, an array or nested lists of numbers ({first_line(error)})"
        ) from error
