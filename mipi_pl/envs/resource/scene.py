"""Conversion of an episode of Resource Collection to a scene."""

from __future__ import annotations

from mipi_pl.envs.resource.rules_state import NOTHING, State
from mipi_pl.envs.resource.scenario import Scenario
from mipi_pl.envs.scene import AGENTS, OTHERS, THINGS, Body, Scene


def scene_of(state: State, scenario: Scenario, index: int) -> Scene:
    """Return the current state of episode `index`: the team, home, the resources by type and the invader."""
    episode, s = state.episodes[index], scenario
    team = [_agent(state, s, index, i) for i in range(int(episode.team))]
    home = Body(s.capacity, THINGS, "home", "home", "H", 0.0, 0.0, s.home_size)
    resources = []
    for j in range(s.n_resources):
        resource, k = state.resources[index, j], j % s.resource_types
        label = f"{k}{chr(ord('a') + j // s.resource_types)}"
        position = float(resource.x), float(resource.y)
        resources.append(
            Body(home.slot + 1 + j, THINGS, f"resource {k}", f"resource {label}", label, *position, s.resource_size)
        )
    position, here = (float(episode.invader_x), float(episode.invader_y)), bool(episode.away == 0)
    invader = Body(s.n_entities - 1, OTHERS, "invader", "invader", "!", *position, s.invader_size, here=here)
    outcome = f"delivered {episode.delivered}, caught {episode.caught}, lost {episode.lost}"
    return Scene((*team, home, *resources, invader), (-s.wall, -s.wall, 2 * s.wall), s.sight_range, outcome)


def _agent(state: State, s: Scenario, index: int, i: int) -> Body:
    agent = state.agents[index, i]
    carries = "" if agent.carries == NOTHING else f"resource {agent.carries}"
    skills = " ".join(f"{skill:g}" for skill in state.skills[index, i])
    return Body(
        slot=i,
        side=AGENTS,
        kind="agent",
        name=f"agent {i}",
        label=str(i),
        x=float(agent.x),
        y=float(agent.y),
        radius=s.agent_size,
        order=f"{f'carries {carries}' if carries else 'empty-handed'}, skills {skills}",
        carries=carries,
    )
