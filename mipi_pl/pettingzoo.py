"""The worlds as parallel environments of PettingZoo.

Examples:
    >>> from mipi_pl.pettingzoo import parallel_env
    >>> env = parallel_env("sz", team_size=5)
    >>> observations, infos = env.reset(seed=1)
    >>> sorted(observations["ally_0"])
    ['action_mask', 'observation']
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from tensordict import TensorDictBase

from mipi_pl import spec as keys
from mipi_pl.envs import flat
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.picture import draw
from mipi_pl.run.overrides import Override
from mipi_pl.run.world import make_world
from mipi_pl.utils.closing import closed_on_error
from mipi_pl.utils.errors import UserError
from mipi_pl.utils.extras import how_to_install

try:
    from gymnasium import logger, spaces
    from pettingzoo import ParallelEnv
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"mipi_pl.pettingzoo needs PettingZoo: {how_to_install('pettingzoo')}", name=error.name
    ) from error

Observation = dict[str, Any]
Infos = dict[str, dict[str, Any]]


def parallel_env(
    *world: Override,
    team_size: int | None = None,
    composition: Mapping[str, int] | None = None,
    seed: int = 0,
    render_mode: str | None = None,
    observation: str = "flat",
) -> EntityParallelEnv:
    """Make a parallel environment of PettingZoo, which plays one episode at a time.

    Args:
        world: name of a world, such as ``"sz"``, and arguments of it: words of the command line, such as
            ``"env.enemy_delta=1"``, or dictionaries, such as ``{"enemy_delta": 1}``.
        team_size: number of agents; there are as many agent slots. None draws teams of the sizes in the config.
        composition: the only team, such as ``{"stalker": 3, "zealot": 2}``, with as many agent slots.
        seed: seed of the episodes until `reset` gets one.
        render_mode: ``rgb_array``, or None.
        observation: ``flat`` or ``entities``; see `EntityParallelEnv`.

    Raises:
        mipi_pl.utils.errors.UserError: if an argument is invalid.
    """
    env, name = make_world(world, 1, seed, team_size, composition)
    try:
        with closed_on_error(env):
            return EntityParallelEnv(env, name, observation, render_mode)
    except ValueError as error:
        raise UserError(str(error)) from error


class EntityParallelEnv(ParallelEnv):
    """One episode of an `EntityEnv` at a time, as a parallel environment of PettingZoo.

    The agents are ``ally_0``, ``ally_1``, ...: one for each agent slot that the team fills. All of them receive the
    reward of the team. An agent that dies is terminated and leaves `agents`; at the time limit the others are
    truncated. An agent that appears during the episode enters `agents`. In a world that gives it the slot of one that
    left, it has the name of that one, which PettingZoo's own test refuses.

    An observation has two entries:

    * ``action_mask``: int8 [U], 1 for available actions, as the spaces of Gymnasium take it.
    * ``observation``: with ``flat``, float32 [O], see `mipi_pl.envs.flat.observations`. With ``entities``, a dictionary
      of ``entities``, float32 [E, F] with zeros for those that the agent does not see, ``visible``, int8 [E], and
      ``slot``, the index of the agent among the entities.

    The info of an agent has ``won``, whether the episode ended in success with this step, and ``replaced``, whether its
    action was not available and the first available one was played instead.

    Args:
        world: the world with a single environment, which this environment closes.
        name: name of the world.
        observation: ``flat`` or ``entities``.
        render_mode: ``rgb_array``, or None.

    Attributes:
        possible_agents: names of all agent slots.
        agents: names of the agents that act in the running episode.
        state_space: space of `state`.

    Raises:
        ValueError: if the world has several environments, or an argument is not one of its values.
    """

    def __init__(
        self, world: EntityEnv, name: str = "world", observation: str = "flat", render_mode: str | None = None
    ) -> None:
        if world.num_envs != 1:
            raise ValueError(f"a parallel environment of PettingZoo plays one episode, got num_envs={world.num_envs}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be rgb_array or None, got {render_mode!r}")
        if observation not in ("flat", "entities"):
            raise ValueError(f"observation must be flat or entities, got {observation!r}")
        self.world, self.render_mode = world, render_mode
        self.metadata = {"name": f"{name}_v0", "render_modes": ["rgb_array"], "is_parallelizable": True}
        self._flat = observation == "flat"
        self.possible_agents = [f"ally_{k}" for k in range(world.entity_spec.n_agents)]
        self.agents: list[str] = []
        self._slots = {agent: k for k, agent in enumerate(self.possible_agents)}
        self.observation_spaces = {agent: self._observation_space() for agent in self.possible_agents}
        self.action_spaces = {agent: spaces.Discrete(world.entity_spec.n_actions) for agent in self.possible_agents}
        self.state_space = _numbers(flat.state_size(world.entity_spec))
        self._td: TensorDictBase | None = None

    def _observation_space(self) -> spaces.Dict:
        spec = self.world.entity_spec
        seen: spaces.Space[Any] = _numbers(flat.observation_size(spec))
        if not self._flat:
            entities = _numbers(spec.n_entities, spec.n_features)
            slot = spaces.Discrete(spec.n_agents)
            seen = spaces.Dict({"entities": entities, "visible": _flags(spec.n_entities), "slot": slot})
        return spaces.Dict({"observation": seen, "action_mask": _flags(spec.n_actions)})

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Return the space of an agent's observations, the same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Return the space of an agent's actions, the same object at every call."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], Infos]:
        """Begin an episode.

        Args:
            seed: the episodes that follow depend on it alone; None continues with the next episode.
            options: no option is known.

        Returns:
            Observation and info of each agent.

        Raises:
            ValueError: if the seed is no whole number from 0.
        """
        if seed is not None:
            self.world.set_seed(seed)
        self._td = self.world.reset()
        self.agents = self._acting()
        return self._observations(self.agents), {agent: _info() for agent in self.agents}

    def step(
        self, actions: Mapping[str, int]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Play one step.

        Args:
            actions: action of each agent in `agents`.

        Returns:
            Observation, reward, terminated, truncated and info of each agent that acted in this step, and of each that
            appears after it, whose reward is 0.

        Raises:
            ValueError: if no episode is running, an agent has no action, or an action does not exist.
        """
        if self._td is None or not self.agents:
            raise ValueError("no episode is running: call reset")
        played, replaced = self._played(actions)
        self._td.set(keys.ACTION, played)
        self._td = self.world.step(self._td)["next"]
        acted, acting = self.agents, self._acting()
        reward, won = float(self._td[keys.REWARD]), bool(self._td[keys.WON])
        ended, cut = bool(self._td[keys.TERMINATED]), bool(self._td[keys.TRUNCATED])
        self.agents = [] if ended or cut else acting
        given = [agent for agent in self.possible_agents if agent in {*acted, *self.agents}]
        return (
            self._observations(given),
            {agent: reward if agent in acted else 0.0 for agent in given},
            {agent: ended or agent not in acting for agent in given},
            dict.fromkeys(given, cut),
            {agent: _info(won, agent in replaced) for agent in given},
        )

    def _played(self, actions: Mapping[str, int]) -> tuple[torch.Tensor, set[str]]:
        """Return the actions int64 [1, A] of all slots, and the agents whose action was not available."""
        if set(actions) != set(self.agents):
            raise ValueError(f"step needs an action for each of {self.agents}, got some for {sorted(actions)}")
        assert self._td is not None
        mask = self._td[keys.ACTION_MASK][0]
        played = mask.long().argmax(dim=-1)
        replaced: set[str] = set()
        for agent, action in actions.items():
            number = _number(action)
            if not 0 <= number < mask.shape[-1]:
                raise ValueError(
                    f"actions are whole numbers from 0 to {mask.shape[-1] - 1}, got {action!r} for {agent}"
                )
            if mask[self._slots[agent], number]:
                played[self._slots[agent]] = number
            else:
                replaced.add(agent)
        return played.unsqueeze(0), replaced

    def _acting(self) -> list[str]:
        assert self._td is not None
        acting = keys.acting(self._td[keys.VISIBLE][0]).tolist()
        return [agent for agent, acts in zip(self.possible_agents, acting, strict=True) if acts]

    def _observations(self, agents: list[str]) -> dict[str, Observation]:
        assert self._td is not None
        entities, visible = self._td[keys.ENTITIES][0], self._td[keys.VISIBLE][0]
        mask = self._td[keys.ACTION_MASK][0].numpy().astype(np.int8)
        if self._flat:
            seen: list[Any] = list(flat.observations(entities, visible).numpy())
        else:
            shown = (entities * visible.unsqueeze(-1)).numpy()
            flags = visible.numpy().astype(np.int8)
            seen = [{"entities": shown[k], "visible": flags[k], "slot": k} for k in range(len(shown))]
        return {a: {"observation": seen[self._slots[a]], "action_mask": mask[self._slots[a]]} for a in agents}

    def state(self) -> np.ndarray:
        """Return the state of the whole world: float32 [S], see `mipi_pl.envs.flat.states`.

        Raises:
            ValueError: before the first `reset`.
        """
        if self._td is None:
            raise ValueError("there is no state yet: call reset")
        state: np.ndarray = flat.states(self._td[keys.ENTITIES][0], self._td[keys.PRESENT][0]).numpy()
        return state

    def render(self) -> np.ndarray | None:
        """Draw the running episode: uint8 [height, width, 3], or None without a render mode."""
        if self.render_mode is None:
            logger.warn("this environment was made without render_mode='rgb_array', so it renders nothing")
            return None
        return draw(self.world.scene(0))

    def close(self) -> None:
        """Close the world."""
        self.world.close(raise_if_closed=False)


def _number(action: object) -> int:
    """Return an action as an int; -1 if it is no whole number."""
    try:
        return operator.index(action)  # type: ignore[arg-type]
    except TypeError:
        return -1


def _info(won: bool = False, replaced: bool = False) -> dict[str, Any]:
    return {"won": won, "replaced": replaced}


def _numbers(*shape: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


def _flags(*shape: int) -> spaces.Box:
    return spaces.Box(0, 1, shape, np.int8)
