"""A two-step game of three agents with all its episodes in one batch; only the start is random."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from tensordict import TensorDict

from mipi_pl.spec import EntitySpec
from mipi_pl.theory.mmdp import MMDP, Array, joint_actions

TEAMS, PLACES, AGENTS, ACTIONS, GAMMA = 2, 3, 3, 2, 0.8
"""The place is 0 in the first step, then 1 or 2: agents 0 and 1 each lead half of the episodes to 1 + their action."""
SPEC = EntitySpec(
    n_agents=AGENTS, n_entities=AGENTS + 1, n_features=AGENTS + PLACES + TEAMS, n_actions=ACTIONS, max_steps=2
)
# Pay of agent i for action 1 beyond action 0, by team and agent, in each place. The teams disagree, so that information
# has its price; the best policies lie between the deterministic ones.
ADVANTAGE = np.array(
    [
        [[0.7, 0.5, -0.6], [-0.6, -0.6, 0.5], [0.5, 0.0, 0.0]],
        [[-0.6, -0.7, 0.6], [0.5, 0.6, -0.7], [-0.6, 0.0, 0.0]],
    ]
)
BASE = np.array([[0.3, 1.0, 0.7], [0.1, -0.4, -0.2]])
"""Pay that depends on team and place alone."""


def acts(team: int, place: int, agent: int) -> bool:
    """The third agent of team 1 dies after the first step."""
    return not (agent == 2 and team == 1 and place > 0)


def available(place: int, agent: int) -> list[bool]:
    """The third agent has a choice in the first step only."""
    return [True, not (agent == 2 and place > 0)]


def pay(team: int, place: int, action: tuple[int, ...]) -> float:
    """Of the team, for one step."""
    return float(BASE[team, place] + sum(ADVANTAGE[team, i, place] * u for i, u in enumerate(action)))


def state(team: int, place: int) -> int:
    """Its number; the last one is the end."""
    return team * PLACES + place


def as_mmdp() -> MMDP:
    """The game as tables; each place is an own state, the same in both teams, and so is the end."""
    states, actions = TEAMS * PLACES + 1, joint_actions(AGENTS, ACTIONS)
    reward, transition = np.zeros((states, len(actions))), np.zeros((states, len(actions), states))
    transition[-1, :, -1] = 1.0
    own = np.full((AGENTS, states), PLACES)
    for team, place in product(range(TEAMS), range(PLACES)):
        s = state(team, place)
        own[:, s] = place
        for j, action in enumerate(map(tuple, actions.tolist())):
            reward[s, j] = pay(team, place, action)
            for leader in (0, 1):
                transition[s, j, state(team, 1 + action[leader]) if place == 0 else -1] += 0.5
    return MMDP(reward, transition, own, GAMMA, ACTIONS)


def choices() -> Array:
    """1 for each available action, [n, S, U]; at the end there is nothing to choose."""
    found = np.zeros((AGENTS, TEAMS * PLACES + 1, ACTIONS))
    found[:, -1, 0] = 1.0
    for team, place, agent in product(range(TEAMS), range(PLACES), range(AGENTS)):
        found[agent, state(team, place)] = available(place, agent)
    return found


def episodes() -> tuple[TensorDict, list[list[int]], list[list[int]]]:
    """Every episode once, in the form of `mipi_pl.datamodules.replay`; its states and its joint actions."""
    plays = []
    for team, first, leader in product(range(TEAMS), joint_actions(AGENTS, ACTIONS).tolist(), (0, 1)):
        place = 1 + first[leader]
        plays += [(team, place, first, [*second, 0]) for second in joint_actions(2, ACTIONS).tolist()]
    n, steps = len(plays), 3
    batch = TensorDict(
        {
            "entities": torch.zeros(n, steps, SPEC.n_entities, SPEC.n_features),
            "present": torch.ones(n, steps, SPEC.n_entities, dtype=torch.bool),
            "agents": {
                "visible": torch.ones(n, steps, AGENTS, SPEC.n_entities, dtype=torch.bool),
                "action_mask": torch.zeros(n, steps, AGENTS, ACTIONS, dtype=torch.bool),
                "action": torch.zeros(n, steps, AGENTS, dtype=torch.int64),
            },
            "reward": torch.zeros(n, steps),
            "terminated": torch.zeros(n, steps, dtype=torch.bool),
            "truncated": torch.zeros(n, steps, dtype=torch.bool),
            "valid": torch.tensor([True, True, False]).expand(n, -1).clone(),
        },
        batch_size=[n],
    )
    batch["terminated"][:, 1] = True
    for row, (team, place, first, second) in enumerate(plays):
        # After the end everything stays as it was: nothing that stands there may matter.
        for t, (where, action) in enumerate(((0, first), (place, second), (place, second))):
            batch["agents", "action"][row, t] = torch.tensor(action)
            batch["reward"][row, t] = pay(team, where, tuple(action))
            batch["entities"][row, t, AGENTS, AGENTS + PLACES + team] = 1.0
            for i in range(AGENTS):
                batch["entities"][row, t, i, [i, AGENTS + where]] = 1.0
                batch["agents", "action_mask"][row, t, i] = torch.tensor(available(where, i))
                if not acts(team, where, i):
                    batch["agents", "visible"][row, t, i] = False
    states = [[state(team, 0), state(team, place)] for team, place, _, _ in plays]
    joint = [[int(np.dot(action, [4, 2, 1])) for action in (first, second)] for _, _, first, second in plays]
    return batch, states, joint
