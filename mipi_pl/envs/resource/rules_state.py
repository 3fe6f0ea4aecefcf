"""What the kernels read and write: B episodes as arrays of records, and the rules' constants.

Entity slots: 0..A-1 the agents, then home, then the R resources, last the invader. The team fills the first slots.
Lengths are those of the square [-1, 1], home lies in its middle. Flags are integers 0 and 1. All fields have 8 bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mipi_pl.envs.kernels.records import Records, record_type

STAY, NORTH, SOUTH, EAST, WEST = 0, 1, 2, 3, 4
"""Actions: forces on the own body."""
N_ACTIONS = 5
NOTHING = -1
"""Type of what an agent with empty hands carries."""

AGENT = record_type("x y vx vy force_x force_y speed carries:i acted:i")
"""An agent slot [B, A]: place, velocity, force, largest speed, type of the resource it carries, whether something has
happened to it in this step. Slots beyond the team hold zeros and are never looked at."""

RESOURCE = record_type("x y taken:i")
"""A resource [B, R]; number j is of type j modulo K. Taken only within a step."""

EPISODE = record_type(
    "invader_x invader_y away:i team:i composition:i steps:i ended:i collected:i delivered:i caught:i lost:i random:u"
)
"""An episode [B]: the invader's place, steps until it returns (0: it is there), agents, what was drawn, steps played,
whether it is over, its events so far (lost counts arrivals of the invader), its random generator."""

RULES = record_type(
    "dt damping contact_force contact_margin mass acceleration wall agent_size home_size resource_size invader_size "
    "touch_margin start_radius sight resource_near resource_far resource_spacing invader_rim invader_step "
    "collect_reward deliver_reward catch_reward arrival_penalty reward_scale position_unit episode_limit:i n_agents:i "
    "n_resources:i n_types:i invader_delay:i"
)
"""Constants of a scenario [1]; see `mipi_pl.envs.resource.env.ResourceCollection`."""


class Land(NamedTuple):
    """Everything about a scenario that does not change."""

    rules: Records
    """RULES [1]."""
    sizes: np.ndarray
    """int64 [C]: agents of each composition."""
    circle: np.ndarray
    """float64 [C, A, 2]: directions in which they start."""
    skill_levels: np.ndarray
    """float64 [levels]."""
    speed_levels: np.ndarray
    """float64 [levels]."""


class State(NamedTuple):
    """Everything about B episodes that changes."""

    episodes: Records
    """EPISODE [B]."""
    agents: Records
    """AGENT [B, A]."""
    skills: np.ndarray
    """float64 [B, A, K]: of each agent for each type of resource."""
    resources: Records
    """RESOURCE [B, R]."""


def make_state(n_envs: int, n_agents: int, n_resources: int, n_types: int) -> State:
    """B episodes, none of them begun."""
    return State(
        episodes=np.zeros(n_envs, dtype=EPISODE),
        agents=np.zeros((n_envs, n_agents), dtype=AGENT),
        skills=np.zeros((n_envs, n_agents, n_types)),
        resources=np.zeros((n_envs, n_resources), dtype=RESOURCE),
    )
