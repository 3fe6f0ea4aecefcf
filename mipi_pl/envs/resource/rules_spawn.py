"""The start of an episode, and everything that appears at random: team, resources, invader."""

from __future__ import annotations

import math

from mipi_pl.envs.kernels.compiled import rule
from mipi_pl.envs.kernels.random import below, uniform
from mipi_pl.envs.kernels.records import Record, Records
from mipi_pl.envs.resource.rules_state import NOTHING

_TO_THE_CORNERS = (
    1.42 / 0.99
)  # COPA: a circle of 1.42, clipped to the square of 0.99; all of it lies on the square's rim


@rule
def _direction(episode: Record) -> tuple[float, float]:
    """A unit vector, drawn without trigonometry, whose last bit differs between machines."""
    x, y, squared = 0.0, 0.0, 0.0
    while squared < 1e-4 or squared > 1.0:
        x = 2.0 * uniform(episode) - 1.0
        y = 2.0 * uniform(episode) - 1.0
        squared = x * x + y * y
    length = math.sqrt(squared)
    return x / length, y / length


@rule
def place_resource(episode: Record, resources: Records, j: int, rules: Record) -> None:
    """Let resource j appear in the ring, away from the others that lie there."""
    free = False
    while not free:
        ux, uy = _direction(episode)
        radius = rules.resource_near + uniform(episode) * (rules.resource_far - rules.resource_near)
        x, y = ux * radius, uy * radius
        free = True
        for k in range(resources.size):
            if k != j and not resources[k].taken:
                dx, dy = x - resources[k].x, y - resources[k].y
                if dx * dx + dy * dy < rules.resource_spacing * rules.resource_spacing:
                    free = False
                    break
        resources[j].x, resources[j].y = x, y
    resources[j].taken = 0


@rule
def place_invader(episode: Record, rules: Record) -> None:
    """Let the invader appear on the rim."""
    ux, uy = _direction(episode)
    rim, reach = rules.invader_rim, rules.invader_rim * _TO_THE_CORNERS
    episode.invader_x = min(max(ux * reach, -rim), rim)
    episode.invader_y = min(max(uy * reach, -rim), rim)
    episode.away = 0


@rule
def spawn(b, state, land):  # type: ignore[no-untyped-def]
    """Begin a new episode. Draws are made for the team alone, so that empty slots change nothing."""
    rules, episode = land.rules[0], state.episodes[b]
    agents, skills, resources = state.agents[b], state.skills[b], state.resources[b]
    episode.composition = below(episode, land.sizes.size)
    episode.team = land.sizes[episode.composition]
    episode.steps, episode.ended = 0, 0
    episode.collected, episode.delivered, episode.caught, episode.lost = 0, 0, 0, 0
    for i in range(agents.size):
        agents[i].x, agents[i].y, agents[i].vx, agents[i].vy = 0.0, 0.0, 0.0, 0.0
        agents[i].force_x, agents[i].force_y, agents[i].acted = 0.0, 0.0, 0
        agents[i].carries, agents[i].speed = NOTHING, 0.0
        for k in range(rules.n_types):
            skills[i, k] = 0.0
    for i in range(episode.team):
        agents[i].x = rules.start_radius * land.circle[episode.composition, i, 0]
        agents[i].y = rules.start_radius * land.circle[episode.composition, i, 1]
        for k in range(rules.n_types):
            skills[i, k] = land.skill_levels[below(episode, land.skill_levels.size)]
        agents[i].speed = land.speed_levels[below(episode, land.speed_levels.size)]
    for j in range(resources.size):
        resources[j].taken = 1
    for j in range(resources.size):
        place_resource(episode, resources, j, rules)
    place_invader(episode, rules)
