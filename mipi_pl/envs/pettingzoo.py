"""ParallelWorld: adapter from parallel environments of PettingZoo, whose agents may die and appear, to an `EntityEnv`.

PettingZoo itself is not imported: any object with the methods of ``pettingzoo.ParallelEnv`` will do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mipi_pl.envs.composition import Composition
from mipi_pl.envs.parallel_game import Agent, ByAgent, ParallelEnv, ParallelGame, Rules, TeamReward
from mipi_pl.envs.stepped import SteppedEnv
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.checks import choose


def flat(agent: Agent, observation: Any) -> np.ndarray:
    """Return the numbers of an observation as one vector: of a dict in the order of its keys, without ``action_mask``.

    It is the default of `ParallelWorld.observe`: each agent is one entity, and sees itself only.

    Examples:
        >>> flat("agent_0", {"position": [1, 2], "health": 0.5, "action_mask": [1, 0]}).tolist()
        [1.0, 2.0, 0.5]
    """
    if isinstance(observation, Mapping):
        parts = [flat(agent, value) for key, value in observation.items() if key != "action_mask"]
    elif isinstance(observation, (list, tuple)):
        parts = [flat(agent, value) for value in observation]
    else:
        return np.asarray(observation, dtype=np.float64).reshape(-1)
    return np.concatenate([np.zeros(0), *parts])


class ParallelWorld(SteppedEnv):
    """Parallel environments of PettingZoo, one per team size, as B batched episodes of teams of changing size.

    The agents of an episode take slots in the order of ``agents``. An agent that dies leaves its slot empty: it is not
    `present`, sees nothing, and has the first action only, which is not sent to the environment. An agent that appears
    takes a slot that was not used in the episode, or else one that was left; it then continues from the recurrent state
    of the agent that left. A `capacity` of the number of agents that an episode has in all avoids that. The episode
    ends when no agents are left. It is truncated if one of its last agents was truncated, otherwise terminated. The
    last observation stays.

    Actions are masked by ``action_mask``, from an agent's observation or its info, if there is one; an agent whose
    action space is smaller than `n_actions` has the first ones.

    Args:
        make: makes the environment of a team size. It is called once per team size and parallel episode.
        observe: returns the features of what an agent observes, from the name of the agent and its observation (of any
            structure): either a vector [F], the features of the agent itself, which then sees no others; or a dict of
            vectors [F] by name, one for each entity that the agent sees, among them itself. Entities with the name of
            an agent take its slot; others (landmarks, food) take one of the `n_others`. The features of an entity
            should not depend on who sees it (absolute positions): there is one row per entity, and that of an agent is
            the one that it returns of itself.
        team_sizes: numbers of agents that episodes draw from.
        capacity: A, number of agent slots: the largest number of agents at once.
        n_features: F.
        n_actions: U, of the largest ``Discrete`` action space.
        max_steps: time limit. If the environments have their own limit, `max_steps` must not be above it: earlier
            truncation is a fault.
        num_envs: B.
        seed: seed of all episodes.
        n_others: number of slots for other entities than agents.
        team_reward: ``sum`` or ``mean`` over the rewards of the agents that acted in the step.
        won: whether an episode that has just ended, if only by `max_steps`, was won, from its environment; None if
            nothing can be won.
        feature_names: names of the features; if they contain x and y, episodes can be drawn.
        action_names: names of the actions.
        device: device of the returned tensors.

    Raises:
        ValueError: if a size is not positive, or a team does not fit into the slots.
        WorldFaultError: during an episode, if an environment breaks the API of PettingZoo or `observe` returns other
            shapes; see `SteppedEnv`.
    """

    def __init__(
        self,
        make: Callable[[int], ParallelEnv],
        observe: Callable[[Any, Any], Any] = flat,
        *,
        team_sizes: Sequence[int],
        capacity: int,
        n_features: int,
        n_actions: int,
        max_steps: int,
        num_envs: int,
        seed: int = 0,
        n_others: int = 0,
        team_reward: str = "mean",
        won: Callable[[Any], bool] | None = None,
        feature_names: Sequence[str] = (),
        action_names: Sequence[str] = (),
        device: str | torch.device = "cpu",
    ) -> None:
        if not team_sizes or min(team_sizes) < 1:
            raise ValueError(f"env.team_sizes must list numbers of agents of at least 1, got {list(team_sizes)}")
        names = {"feature_names": tuple(feature_names), "action_names": tuple(action_names)}
        spec = EntitySpec(capacity, capacity + n_others, n_features, n_actions, max_steps, **names)
        rules = Rules(make, observe, tuple(team_sizes), spec, choose("env.team_reward", team_reward, TeamReward), won)
        teams = [Composition((("agent", n),)) for n in team_sizes]
        super().__init__(spec, teams, lambda: ParallelGame(rules), num_envs, seed, device)
        self.winnable = won is not None

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Close all environments."""
        for game in self._games:
            if isinstance(game, ParallelGame):
                game.close()
        super().close(raise_if_closed=raise_if_closed)


class FromTuples:
    """A Gymnasium environment that has a tuple with one entry per agent, as level-based foraging, as a `ParallelEnv`.

    Its agents are named agent_0, agent_1, ... and all live until the episode ends.

    Args:
        env: environment whose action space, actions, observations and rewards are sequences, one entry per agent.
    """

    def __init__(self, env: Any) -> None:
        self.env = env
        self.possible_agents = [f"agent_{i}" for i in range(len(env.action_space))]
        self.agents: list[str] = []

    def reset(self, seed: int | None = None) -> tuple[ByAgent, ByAgent]:
        """Start an episode."""
        observations, info = self.env.reset(seed=seed)
        self.agents = list(self.possible_agents)
        return self._by_agent(observations), self._for_all(info)

    def step(self, actions: dict[Any, int]) -> tuple[ByAgent, ByAgent, ByAgent, ByAgent, ByAgent]:
        """Play the actions of all agents."""
        played = [actions[agent] for agent in self.possible_agents]
        observations, rewards, terminated, truncated, info = self.env.step(played)
        if terminated or truncated:
            self.agents = []
        flags = self._for_all(terminated), self._for_all(truncated)
        return self._by_agent(observations), self._by_agent(rewards), *flags, self._for_all(info)

    def action_space(self, agent: Any) -> Any:
        """Return the space of an agent's actions."""
        return self.env.action_space[self.possible_agents.index(agent)]

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _by_agent(self, values: Sequence[Any]) -> ByAgent:
        return dict(zip(self.possible_agents, values, strict=True))

    def _for_all(self, value: Any) -> ByAgent:
        return dict.fromkeys(self.possible_agents, value)
