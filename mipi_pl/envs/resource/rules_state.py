"""State of the kernels: B episodes as record arrays, and the constants of a scenario.

Entity slots: 0..A-1 the agents, then home, the R resources and the invader. The team fills the first slots. The ground
is the square [-1, 1]^2 with home at its centre; lengths are in its units. Flags are integers 0 and 1. All fields have 8
bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mipi_pl.envs.kernels.records import Records, record_type

STAY, NORTH, SOUTH, EAST, WEST = 0, 1, 2, 3, 4
"""Actions: the direction of the force on the agent's body, or none."""
N_ACTIONS = 5
NOTHING = -1
"""Value of `carries` for an agent that carries nothing."""

AGENT = record_type("x y vx vy force_x force_y speed carries:i acted:i")
"""Agent slot [B, A]: position, velocity, force, maximum speed, type of the carried resource, whether the agent took
part in an event in this step. Slots beyond the team are empty and never read."""

RESOURCE = record_type("x y taken:i")
"""Resource [B, R]: position, whether it is taken (only within a step). Resource j has type j modulo K."""

EPISODE = record_type(
    "invader_x invader_y away:i team:i composition:i steps:i ended:i collected:i delivered:i caught:i lost:i random:u"
)
"""Episode [B]: position of the invader, steps until it returns (0 while it is present), number of agents, composition,
steps played, whether the episode is over, numbers of events so far (`lost` counts arrivals of the invader), random
generator."""

RULES = record_type(
    "dt damping contact_force contact_margin mass acceleration wall agent_size home_size resource_size invader_size "
    "touch_margin start_radius sight resource_near resource_far resource_spacing invader_rim invader_step "
    "collect_reward deliver_reward catch_reward arrival_penalty reward_scale position_unit episode_limit:i n_agents:i "
    "n_resources:i n_types:i invader_delay:i"
)
"""Constants of a scenario [1]; see `mipi_pl.envs.resource.env.ResourceCollection`."""


class Land(NamedTuple):
    """Constants of a scenario, as arrays for the kernels."""

    rules: Records
    """RULES [1]."""
    sizes: np.ndarray
    """int64 [C]: number of agents of each composition."""
    drawn: np.ndarray
    """int64 [at most C]: compositions that episodes draw from."""
    circle: np.ndarray
    """float64 [C, A, 2]: unit vectors from home to the start positions."""
    skill_levels: np.ndarray
    """float64 [levels]."""
    speed_levels: np.ndarray
    """float64 [levels]."""


class State(NamedTuple):
    """Mutable state of B episodes."""

    episodes: Records
    """EPISODE [B]."""
    agents: Records
    """AGENT [B, A]."""
    skills: np.ndarray
    """float64 [B, A, K]: skill of each agent for each resource type."""
    resources: Records
    """RESOURCE [B, R]."""


def make_state(n_envs: int, n_agents: int, n_resources: int, n_types: int) -> State:
    """Allocate B episodes that have not started."""
    return State(
        episodes=np.zeros(n_envs, dtype=EPISODE),
        agents=np.zeros((n_envs, n_agents), dtype=AGENT),
        skills=np.zeros((n_envs, n_agents, n_types)),
        resources=np.zeros((n_envs, n_resources), dtype=RESOURCE),
    )
