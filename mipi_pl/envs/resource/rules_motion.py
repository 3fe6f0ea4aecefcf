"""Particle physics: forces of the agent's drive, of other bodies and of walls, then one semi-implicit Euler step."""

from __future__ import annotations

import math

from mipi_pl.envs.kernels.compiled import rule
from mipi_pl.envs.kernels.records import Record, Records
from mipi_pl.envs.resource.rules_state import EAST, NORTH, SOUTH, WEST

_NEGLIGIBLE = 40.0  # in contact margins; at this gap the force is 4e-18 of its unit


@rule
def _penetration(gap: float, margin: float) -> float:
    """Return the smoothed penetration depth of two bodies: margin ln(1 + exp(-gap / margin))."""
    scaled = -gap / margin
    return margin * (max(scaled, 0.0) + math.log1p(math.exp(-abs(scaled))))


@rule
def _contact(agent: Record, x: float, y: float, touching: float, rules: Record) -> tuple[float, float]:
    """Return the force on an agent from a body at (x, y). The two touch if their centres are `touching` apart."""
    dx, dy = agent.x - x, agent.y - y
    near = touching + _NEGLIGIBLE * rules.contact_margin
    squared = dx * dx + dy * dy
    if squared > near * near or squared == 0.0:  # no direction if the centres coincide
        return 0.0, 0.0
    distance = math.sqrt(squared)
    force = rules.contact_force * _penetration(distance - touching, rules.contact_margin) / distance
    return force * dx, force * dy


@rule
def _walls(position: float, rules: Record) -> float:
    """Return the inward force along one axis from the two walls perpendicular to it."""
    room = rules.wall - rules.agent_size
    force = 0.0
    if room - position < _NEGLIGIBLE * rules.contact_margin:
        force -= rules.contact_force * _penetration(room - position, rules.contact_margin)
    if room + position < _NEGLIGIBLE * rules.contact_margin:
        force += rules.contact_force * _penetration(room + position, rules.contact_margin)
    return force


@rule
def _drive(agent: Record, action: int, rules: Record) -> None:
    """Set the agent's force to the drive that the action selects."""
    drive = rules.acceleration * agent.speed
    agent.force_x = drive if action == EAST else -drive if action == WEST else 0.0
    agent.force_y = drive if action == NORTH else -drive if action == SOUTH else 0.0


@rule
def _move(agent: Record, rules: Record) -> None:
    """Update velocity, clip it to the maximum speed, and update the position."""
    agent.vx = agent.vx * (1.0 - rules.damping) + agent.force_x / rules.mass * rules.dt
    agent.vy = agent.vy * (1.0 - rules.damping) + agent.force_y / rules.mass * rules.dt
    speed = math.sqrt(agent.vx * agent.vx + agent.vy * agent.vy)
    if speed > agent.speed:
        agent.vx, agent.vy = agent.vx / speed * agent.speed, agent.vy / speed * agent.speed
    agent.x += agent.vx * rules.dt
    agent.y += agent.vy * rules.dt


@rule
def move_team(episode: Record, agents: Records, resources: Records, actions, rules: Record) -> None:  # type: ignore[no-untyped-def]
    """Move all agents by one step. Collisions do not move home, resources or the invader."""
    n = episode.team
    for i in range(n):
        _drive(agents[i], actions[i], rules)
    for i in range(n):
        agent = agents[i]
        for k in range(i + 1, n):
            fx, fy = _contact(agent, agents[k].x, agents[k].y, 2.0 * rules.agent_size, rules)
            agent.force_x += fx
            agent.force_y += fy
            agents[k].force_x -= fx
            agents[k].force_y -= fy
        fx, fy = _contact(agent, 0.0, 0.0, rules.agent_size + rules.home_size, rules)
        agent.force_x += fx + _walls(agent.x, rules)
        agent.force_y += fy + _walls(agent.y, rules)
        for j in range(resources.size):
            fx, fy = _contact(agent, resources[j].x, resources[j].y, rules.agent_size + rules.resource_size, rules)
            agent.force_x += fx
            agent.force_y += fy
        if episode.away == 0:
            fx, fy = _contact(agent, episode.invader_x, episode.invader_y, rules.agent_size + rules.invader_size, rules)
            agent.force_x += fx
            agent.force_y += fy
    for i in range(n):
        _move(agents[i], rules)
