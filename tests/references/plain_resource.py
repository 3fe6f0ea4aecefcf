"""Independent implementation of Resource Collection: one episode, plain Python, all pairs of bodies, no force cutoff.

The numbers of a scenario are written out here and not read from the environment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, hypot, log, pi, sin, sqrt
from typing import Any

import numpy as np

MASK = 2**64 - 1
DIRECTION = {0: (0, 0), 1: (0, 1), 2: (0, -1), 3: (1, 0), 4: (-1, 0)}


class Draws:
    """splitmix64 on Python's integers."""

    def __init__(self, seed: int) -> None:
        self.state = seed & MASK

    def unit(self) -> float:
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return ((z ^ (z >> 31)) >> 11) / 2**53

    def one_of(self, things: Any) -> Any:
        return things[int(self.unit() * len(things))]

    def direction(self) -> tuple[float, float]:
        while True:
            x, y = 2 * self.unit() - 1, 2 * self.unit() - 1
            if 1e-4 <= x * x + y * y <= 1:
                return x / sqrt(x * x + y * y), y / sqrt(x * x + y * y)


@dataclass
class Body:
    """An agent, or with zeros where it means nothing any other body."""

    x: float
    y: float
    size: float
    type: int = -1
    skills: list[float] = field(default_factory=list)
    speed: float = 0.0
    vx: float = 0.0
    vy: float = 0.0
    carries: int | None = None

    def distance(self, other: Body) -> float:
        return hypot(self.x - other.x, self.y - other.y)

    def touches(self, other: Body) -> bool:
        return self.distance(other) <= self.size + other.size + 0.01


class PlainResource:
    """One episode from a generator's state."""

    def __init__(self, seed: int, team_sizes: list[int]) -> None:
        self.draws, self.steps = Draws(seed), 0
        n = self.draws.one_of(sorted(team_sizes))
        self.agents = []
        for i in range(n):
            skills = [self.draws.one_of([0.1, 0.5, 0.9]) for _ in range(3)]
            speed = self.draws.one_of([0.3, 0.5, 0.7])
            angle = 2 * pi * i / n
            self.agents.append(Body(0.12 * cos(angle), 0.12 * sin(angle), 0.04, skills=skills, speed=speed))
        self.home = Body(0.0, 0.0, 0.08)
        self.resources: list[Body | None] = [None] * 6
        for j in range(6):
            self.resources[j] = self.new_resource(j)
        self.invader: Body | None = self.new_invader()
        self.returns_in = 0

    def new_resource(self, j: int) -> Body:
        while True:
            ux, uy = self.draws.direction()
            r = 0.4 + self.draws.unit() * 0.55
            found = Body(ux * r, uy * r, 0.05, type=j % 3)
            if all(other is None or found.distance(other) >= 0.1 for other in self.resources):
                return found

    def new_invader(self) -> Body:
        ux, uy = self.draws.direction()
        x, y = (min(max(1.42 * u, -0.99), 0.99) for u in (ux, uy))
        return Body(x, y, 0.03)

    def bodies(self) -> list[Body]:
        others = [self.home, *self.resources, self.invader]
        return [*self.agents, *(body for body in others if body is not None)]

    def step(self, actions: list[int]) -> float:
        there = self.invader is not None
        self.move(actions)
        reward = self.events()
        for j in range(6):
            if self.resources[j] is None:
                self.resources[j] = self.new_resource(j)
        if self.invader is not None:
            far = hypot(self.invader.x, self.invader.y)
            self.invader.x -= self.invader.x / far * 0.05
            self.invader.y -= self.invader.y / far * 0.05
        elif not there:
            self.returns_in -= 1
            if self.returns_in == 0:
                self.invader = self.new_invader()
        self.steps += 1
        return reward

    def move(self, actions: list[int]) -> None:
        forces = []
        for agent, action in zip(self.agents, actions, strict=False):
            force = np.array(DIRECTION[action]) * 5 * agent.speed
            for other in self.bodies():
                if other is not agent and agent.distance(other) > 0:
                    apart = np.array([agent.x - other.x, agent.y - other.y])
                    deep = soft(agent.distance(other) - agent.size - other.size)
                    force = force + 100 * deep * apart / agent.distance(other)
            for axis, place in enumerate((agent.x, agent.y)):
                force[axis] += 100 * (soft(place + 0.9 - 0.04) - soft(0.9 - 0.04 - place))
            forces.append(force)
        for agent, force in zip(self.agents, forces, strict=True):
            velocity = np.array([agent.vx, agent.vy]) * 0.75 + force * 0.1
            speed = sqrt(velocity @ velocity)
            if speed > agent.speed:
                velocity = velocity / speed * agent.speed
            agent.vx, agent.vy = velocity
            agent.x += agent.vx * 0.1
            agent.y += agent.vy * 0.1

    def events(self) -> float:
        reward, busy = 0.0, []
        if self.invader is not None and self.invader.touches(self.home):
            reward -= 4
            self.send_away()
        elif self.invader is not None:
            catchers = [agent for agent in self.agents if agent.touches(self.invader)]
            if catchers:
                busy.append(min(catchers, key=self.invader.distance))
                reward += 4
                self.send_away()
        while True:
            pairs = [
                (agent.distance(thing), i, j)
                for i, agent in enumerate(self.agents)
                for j, thing in enumerate(self.resources)
                if thing is not None and agent.touches(thing) and agent.carries is None and agent not in busy
            ]
            if not pairs:
                break
            _, i, j = min(pairs)
            self.agents[i].carries = j % 3
            busy.append(self.agents[i])
            self.resources[j] = None
            reward += 10 * self.agents[i].skills[j % 3]
        for agent in self.agents:
            if agent.carries is not None and agent.touches(self.home) and agent not in busy:
                agent.carries = None
                reward += 1
        return reward

    def send_away(self) -> None:
        self.invader, self.returns_in = None, 1 + int(self.draws.unit() * 10)

    def features(self, capacity: int) -> np.ndarray:
        """[E, 17]: kind (6), place, velocity, carries (3), skills (3), speed."""
        rows = np.zeros((capacity + 8, 17))
        for i, a in enumerate(self.agents):
            rows[i, [0, 6, 7, 8, 9, 16]] = 1, a.x, a.y, a.vx, a.vy, a.speed
            rows[i, 13:16] = a.skills
            if a.carries is not None:
                rows[i, 10 + a.carries] = 1
        rows[capacity, 1] = 1
        for j, thing in enumerate(self.resources):
            assert thing is not None
            rows[capacity + 1 + j, [2 + j % 3, 6, 7]] = 1, thing.x, thing.y
        rows[capacity + 7, 5] = 1
        if self.invader is not None:
            rows[capacity + 7, 6:8] = self.invader.x, self.invader.y
        return rows

    def visible(self, capacity: int) -> np.ndarray:
        """bool [A, E]."""
        seen = np.zeros((capacity, capacity + 8), dtype=bool)
        for i, agent in enumerate(self.agents):
            for k, other in enumerate(self.agents):
                seen[i, k] = agent is other or agent.distance(other) <= 0.2
            for k, thing in enumerate([self.home, *self.resources, self.invader]):
                seen[i, capacity + k] = thing is not None and agent.distance(thing) <= 0.2 + thing.size
        return seen


def soft(gap: float) -> float:
    """Depth of contact: 0.001 ln(1 + exp(-gap / 0.001))."""
    scaled = -gap / 0.001
    return 0.001 * (scaled if scaled > 700 else log(1 + np.exp(scaled)))
