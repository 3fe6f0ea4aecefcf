"""Start of an episode and random placement of the team, the resources and the invader."""

from __future__ import annotations

import math

from mipi_pl.envs.kernels.compiled import rule
from mipi_pl.envs.kernels.random import below, uniform
from mipi_pl.envs.kernels.records import Record, Records
from mipi_pl.envs.resource.rules_state import NOTHING

# COPA clips a circle of radius 1.42 to the square of half side 0.99. The circle encloses the square, so all of it ends
# up on the square's rim.
_TO_THE_CORNERS = 1.42 / 0.99


@rule
def _direction(episode: Record) -> tuple[float, float]:
    """Draw a unit vector. Trigonometric functions are avoided because their last bit differs between machines."""
    x, y, squared = 0.0, 0.0, 0.0
    while squared < 1e-4 or squared > 1.0:
        x = 2.0 * uniform(episode) - 1.0
        y = 2.0 * uniform(episode) - 1.0
        squared = x * x + y * y
    length = math.sqrt(squared)
    return x / length, y / length


@rule
def place_resource(episode: Record, resources: Records, j: int, rules: Record) -> None:
    """Place resource j at random in the ring around home, at least `resource_spacing` from the others."""
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
    """Place the invader at random on the rim of the square."""
    ux, uy = _direction(episode)
    rim, reach = rules.invader_rim, rules.invader_rim * _TO_THE_CORNERS
    episode.invader_x = min(max(ux * reach, -rim), rim)
    episode.invader_y = min(max(uy * reach, -rim), rim)
    episode.away = 0


@rule
def spawn(b, state, land):  # type: ignore[no-untyped-def]
    """Start a new episode. Only team members draw, so the number of empty slots does not change the episode."""
    rules, episode = land.rules[0], state.episodes[b]
    agents, skills, resources = state.agents[b], state.skills[b], state.resources[b]
    episode.composition = land.drawn[below(episode, land.drawn.size)]
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
