"""ParallelGame: one parallel environment of PettingZoo as a game of `SteppedEnv`, with a slot for each agent."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol

import numpy as np

from mipi_pl.envs.faults import array_of, flag_of, mask_of, number_of
from mipi_pl.envs.stepped import View
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.errors import WorldFaultError

Agent = Hashable
"""Name of an agent, usually a string."""
ByAgent = Mapping[Any, Any]


class ParallelEnv(Protocol):
    """The part of ``pettingzoo.ParallelEnv`` that is used."""

    agents: list[Any]
    """Agents that act in the next step; empty after the end of an episode."""

    def reset(self, seed: int | None = None) -> tuple[ByAgent, ByAgent]:
        """Return the first observations and infos by agent."""
        ...

    def step(self, actions: dict[Any, int]) -> tuple[ByAgent, ByAgent, ByAgent, ByAgent, ByAgent]:
        """Return observations, rewards, terminations, truncations and infos by agent."""
        ...

    def action_space(self, agent: Any) -> Any:
        """Return the ``Discrete`` space of the agent's actions."""
        ...


class TeamReward(Enum):
    """How the rewards of the agents that acted become one reward of the team."""

    SUM = "sum"
    MEAN = "mean"


@dataclass(frozen=True)
class Rules:
    """What the games of a world share; see the arguments of `mipi_pl.envs.pettingzoo.ParallelWorld`."""

    make: Callable[[int], ParallelEnv]
    observe: Callable[[Any, Any], Any]
    team_sizes: tuple[int, ...]
    spec: EntitySpec
    team_reward: TeamReward
    won: Callable[[Any], bool] | None


class ParallelGame:
    """Plays one episode of a parallel environment at a time, in one environment per team size.

    Args:
        rules: what the games of a world share.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._envs: dict[int, ParallelEnv] = {}

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs.values():
            if hasattr(env, "close"):
                env.close()
        self._envs.clear()

    def reset(self, composition: int, seed: int) -> View:
        """Start an episode of the team size with this index."""
        size = self.rules.team_sizes[composition]
        if size not in self._envs:
            self._envs[size] = self.rules.make(size)
        self._env = self._envs[size]
        self._slots = _Slots(self.rules.spec)
        observations, infos = _parts("reset", self._env.reset(seed=seed), ("observations", "infos"))
        self._steps, self._acting = 0, list(self._env.agents)
        self._last = self._view(self._acting, self._acting, observations, infos)
        return self._last

    def step(self, action: np.ndarray) -> View:
        """Play the actions of the agents that live."""
        acted = self._acting
        actions = {agent: self._sent(agent, int(action[self._slots[agent]])) for agent in acted}
        names = ("observations", "rewards", "terminations", "truncations", "infos")
        observations, rewards, terminations, truncations, infos = _parts("step", self._env.step(actions), names)
        dead = {agent for agent in acted if flag_of(f"the termination of {agent!r}", terminations.get(agent, False))}
        left = {agent for agent in acted if flag_of(f"the truncation of {agent!r}", truncations.get(agent, False))}
        cut = left - dead
        self._acting = [agent for agent in self._env.agents if agent not in dead | cut]
        over, self._steps = not self._acting, self._steps + 1
        is_last = over or self._steps == self.rules.spec.max_steps  # `SteppedEnv` ends it there
        last = [agent for agent in acted if not cut or agent in cut]
        if not over:
            view = self._view(self._acting, self._acting, observations, infos)
        elif seen := [agent for agent in last if agent in observations]:
            view = self._view(seen, last, observations, infos)
            assert view.action_mask is not None
            view.action_mask[:, 0] |= ~view.action_mask.any(axis=1)  # agents that are done may have no action left
        else:
            view = self._last
        self._last = view
        return replace(
            view,
            reward=self._team_reward(acted, rewards),
            terminated=over and not cut,
            truncated=over and bool(cut),
            won=is_last and self.rules.won is not None and self.rules.won(self._env),
        )

    def _sent(self, agent: Agent, action: int) -> int:
        return action + int(getattr(self._env.action_space(agent), "start", 0))

    def _team_reward(self, acted: Sequence[Agent], rewards: ByAgent) -> float:
        total = sum(number_of(f"the reward of {agent!r}", rewards.get(agent)) for agent in acted)
        return total / len(acted) if self.rules.team_reward is TeamReward.MEAN else total

    # ------------------------------------------------------------------ views

    def _view(self, agents: Sequence[Agent], there: Sequence[Agent], observations: ByAgent, infos: ByAgent) -> View:
        """Return the view of agents, in which those that are not `there` any more are not, whoever describes them."""
        spec, slots = self.rules.spec, self._slots
        slots.seat(agents)
        view = View(
            np.zeros((spec.n_entities, spec.n_features)),
            np.zeros(spec.n_entities, dtype=bool),
            np.zeros((spec.n_agents, spec.n_entities), dtype=bool),
            np.ones((spec.n_agents, spec.n_actions), dtype=bool),
        )
        assert view.visible is not None
        assert view.action_mask is not None
        described = {agent: slots.without_gone(self._described(agent, observations), there) for agent in agents}
        slots.seat_others(name for seen in described.values() for name in seen)
        for agent, seen in described.items():
            mine = slots[agent]
            for name, features in seen.items():
                slot = slots[name]
                view.visible[mine, slot] = True
                if name == agent or not (view.present[slot] or name in described):
                    view.entities[slot] = features
                view.present[slot] = True
            view.action_mask[mine] = self._available(agent, observations[agent], infos.get(agent))
        return view

    def _described(self, agent: Agent, observations: ByAgent) -> dict[Any, np.ndarray]:
        """Return the features of each entity that an agent sees, by name."""
        if agent not in observations:
            raise WorldFaultError(
                f"a parallel environment must return an observation of each agent in `agents`, got none of {agent!r}"
            )
        seen = self.rules.observe(agent, observations[agent])
        if not isinstance(seen, Mapping):
            seen = {agent: seen}
        if agent not in seen:
            raise WorldFaultError(
                f"observe must return the agent itself among the entities that it sees, or it would never act; for "
                f"{agent!r} it returned {list(seen)}"
            )
        shape = (self.rules.spec.n_features,)
        return {
            name: array_of(f"features (observe: {name!r} as seen by {agent!r})", row, shape)
            for name, row in seen.items()
        }

    def _available(self, agent: Agent, observation: Any, info: Any) -> np.ndarray:
        """Return the mask of an agent's actions, bool [U]."""
        space, n_actions = self._env.action_space(agent), self.rules.spec.n_actions
        if not 1 <= (size := int(getattr(space, "n", 0))) <= n_actions:
            raise WorldFaultError(
                f"the action space of {agent!r} must be Discrete of at most n_actions={n_actions}, got {space}"
            )
        available = np.arange(n_actions) < size
        for source in (observation, info):
            if isinstance(source, Mapping) and source.get("action_mask") is not None:
                available[:size] &= mask_of(f"the action_mask of {agent!r}", source["action_mask"], (size,))
                break
        return available


class _Slots:
    """Which slot each agent and each other entity of an episode has."""

    def __init__(self, spec: EntitySpec) -> None:
        self._agents: dict[Any, int] = {}
        self._others: dict[Any, int] = {}
        self._seated: set[Any] = set()
        self._spec = spec

    def __getitem__(self, name: Any) -> int:
        return self._agents[name] if name in self._agents else self._others[name]

    def seat(self, agents: Sequence[Agent]) -> None:
        """Give a slot to each agent that has none.

        Raises:
            WorldFaultError: if there are more agents than slots.
        """
        _seat(self._agents, agents, 0, self._spec.n_agents, "capacity")
        self._seated.update(agents)

    def without_gone(self, seen: Mapping[Any, np.ndarray], there: Sequence[Agent]) -> dict[Any, np.ndarray]:
        """Return what an agent sees without the agents of the episode that are not `there` any more."""
        return {name: row for name, row in seen.items() if name in there or name not in self._seated}

    def seat_others(self, names: Iterable[Any]) -> None:
        """Give a slot to each of the other entities that are seen and have none.

        Raises:
            WorldFaultError: if there are more of them than slots.
        """
        others = list(dict.fromkeys(name for name in names if name not in self._agents))
        _seat(self._others, others, self._spec.n_agents, self._spec.n_others, "n_others")


def _seat(table: dict[Any, int], names: Sequence[Any], first: int, size: int, argument: str) -> None:
    """Give each name a slot that has not been used in the episode, or else one whose name is not among `names`."""
    if len(names) > size:
        listed = ", ".join(map(repr, names))
        raise WorldFaultError(f"{argument}={size} is too small for {len(names)} at once ({listed})")
    for name in names:
        if name not in table:
            gone = next((old for old in table if old not in names), None) if len(table) == size else None
            table[name] = first + len(table) if gone is None else table.pop(gone)


def _parts(method: str, returned: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    """Return the parts of what a method of a parallel environment returned, each a dict by agent."""
    expected = f"{method} of a parallel environment must return the dicts {', '.join(names)}"
    if not isinstance(returned, tuple) or len(returned) != len(names):
        count = f" of {len(returned)}" if isinstance(returned, tuple) else ""
        raise WorldFaultError(f"{expected}, got {type(returned).__name__}{count}")
    for name, part in zip(names, returned, strict=True):
        if not isinstance(part, Mapping):
            raise WorldFaultError(f"{expected}; {name} is {type(part).__name__}")
    return returned
