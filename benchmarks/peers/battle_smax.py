"""SMAX's side of the comparison of battles, from the package jaxmarl in its own Python environment.

PATH/bin/python benchmarks/peers/battle_smax.py rules --episodes 500
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax  # type: ignore[import-not-found]
import jax.numpy as jnp  # type: ignore[import-not-found]
from battle_questions import MAPS, Order, Placed
from battle_side import main, timed
from jaxmarl.environments.smax import (  # type: ignore[import-not-found]
    HeuristicEnemySMAX,
    map_name_to_scenario,
)

_SLOTS = 4
_STOP, _EAST, _FIRST_TARGET = 4, 1, 5
_STEPS = 10
"""Steps per compiled call of `speed`."""


class SMAX:
    """SMAX as a `battle_questions.Simulator`.

    Empty slots hold dead units, so that all battles have the same shapes and compile once.
    """

    maps: Sequence[str] = tuple(name for name in MAPS if name != "MMM")
    loops_per_s = 16.0
    repeats = 5

    def __init__(self) -> None:
        self.env = HeuristicEnemySMAX(
            num_allies=_SLOTS, num_enemies=_SLOTS, world_steps_per_env_step=1, walls_cause_death=False
        )
        self.kinds: Sequence[str] = tuple(self.env.unit_type_names)
        self.key = jax.random.PRNGKey(0)
        self.first = self.env.reset(self.key)[1]
        base = self.env._env
        self.held = jax.jit(
            lambda key, state, own: base.step_env(
                key, state, {**own, **{name: jnp.array(_STOP) for name in self.env.enemy_agents}}
            )[1]
        )
        self.led = jax.jit(lambda key, state, own: self.env.step_env(key, state, own)[1])

    def begin(self, agents: Sequence[Placed], enemies: Sequence[Placed], scripted: bool) -> None:
        """See `battle_questions.Simulator`."""
        kinds, places, health = [0] * (2 * _SLOTS), [[1.0 + k, 1.0] for k in range(2 * _SLOTS)], [0.0] * (2 * _SLOTS)
        for first, placed in ((0, agents), (_SLOTS, enemies)):
            for k, (kind, x, y) in enumerate(placed):
                kinds[first + k] = self.kinds.index(kind)
                places[first + k] = [x, y]
                health[first + k] = float(self.env.unit_type_health[kinds[first + k]])
        inner = self.first.state.replace(
            unit_types=jnp.array(kinds, dtype=jnp.uint8),
            unit_positions=jnp.array(places),
            unit_health=jnp.array(health),
            unit_alive=jnp.array(health) > 0,
        )
        self.state, self.scripted = self.first.replace(state=inner), scripted
        self.counts = (len(agents), len(enemies))

    def _change(self, **arrays: Any) -> None:
        self.state = self.state.replace(state=self.state.state.replace(**arrays))

    def move(self, agent: int, x: float, y: float) -> None:
        """See `battle_questions.Simulator`."""
        self._change(unit_positions=self.state.state.unit_positions.at[agent].set(jnp.array([x, y])))

    def hurt(self, agent: int, amount: float) -> bool:
        """See `battle_questions.Simulator`; SMAX has no shields."""
        self._change(unit_health=self.state.state.unit_health.at[agent].add(-amount))
        return False

    def loop(self, orders: Mapping[int, Order]) -> None:
        """See `battle_questions.Simulator`."""
        own = {}
        for k, name in enumerate(self.env.agents):
            order, target = orders.get(k, ("stop", 0))
            own[name] = jnp.array({"east": _EAST, "attack": _FIRST_TARGET + target}.get(order, _STOP))
        self.key, key = jax.random.split(self.key)
        if self.scripted:
            self.state = self.led(key, self.state, own)
        else:
            self.state = self.state.replace(state=self.held(key, self.state.state, own))

    def life(self, side: int) -> list[float]:
        """See `battle_questions.Simulator`."""
        health = self.state.state.unit_health[side * _SLOTS :].tolist()
        return [float(value) for value in health[: self.counts[side]]]

    def place(self, agent: int) -> tuple[float, float]:
        """See `battle_questions.Simulator`."""
        x, y = self.state.state.unit_positions[agent].tolist()
        return x, y

    def play(self, name: str, episodes: int) -> dict[str, float]:
        """See `battle_questions.Simulator`."""
        most = MAPS[name][2]
        env = HeuristicEnemySMAX(scenario=map_name_to_scenario(name), max_steps=most)
        names = env.agents

        def step(carry: Any, key: Any) -> Any:
            state, done = carry
            action = attack_nearest(env, state)
            after = env.step_env(key, state, {agent: action[k] for k, agent in enumerate(names)})[1]
            after = jax.tree.map(lambda old, new: jnp.where(done, old, new), state, after)
            ended = env.is_terminal(after)
            return (after, ended), ~done

        def episode(key: Any) -> Any:
            first, rest = jax.random.split(key)
            state = env.reset(first)[1]
            (state, _), counted = jax.lax.scan(step, (state, jnp.array(False)), jax.random.split(rest, most))
            alive = state.state.unit_alive
            return alive[: env.num_allies].any() & ~alive[env.num_allies :].any(), counted.sum()

        won, length = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.PRNGKey(1), episodes))
        return {"win_rate": float(won.mean()), "length": float(length.mean())}


def attack_nearest(env: Any, state: Any) -> Any:
    """Returns the actions [agents] of this repository's scripted policy `attack_nearest`."""
    inner, own = state.state, env.num_allies
    available = env.get_avail_actions(state)
    apart = inner.unit_positions[None, own:] - inner.unit_positions[:own, None]
    distance = jnp.where(inner.unit_alive[None, own:], jnp.linalg.norm(apart, axis=-1), jnp.inf)
    masks = jnp.stack([available[name] for name in env.agents])
    reachable = jnp.where(masks[:, _FIRST_TARGET:] > 0, distance, jnp.inf)
    nearest = jnp.take_along_axis(apart, distance.argmin(axis=1)[:, None, None], axis=1)[:, 0]
    north, east = nearest[:, 1], nearest[:, 0]
    way = jnp.where(jnp.abs(east) > jnp.abs(north), jnp.where(east > 0, 1, 3), jnp.where(north > 0, 0, 2))
    action = jnp.where(jnp.isfinite(reachable.min(axis=1)), _FIRST_TARGET + reachable.argmin(axis=1), way)
    return jnp.where(inner.unit_alive[:own], action, _STOP)


def speed(environments: int, seconds: float) -> Callable[[], dict[str, float]]:
    """Returns a turn that measures 3s5z with random legal actions. Compiled calls also restart ended battles."""
    env = HeuristicEnemySMAX(scenario=map_name_to_scenario("3s5z"), max_steps=150)

    def step(carry: Any, key: Any) -> Any:
        keys = jax.random.split(key, len(env.agents) + 1)
        available = env.get_avail_actions(carry)
        action = {
            name: jax.random.categorical(keys[k], jnp.where(available[name] > 0, 0.0, -jnp.inf))
            for k, name in enumerate(env.agents)
        }
        observation, state, reward, done, _ = env.step(keys[-1], carry, action)
        return state, (sum(value.sum() for value in observation.values()), reward[env.agents[0]], done["__all__"])

    def steps(state: Any, key: Any) -> Any:
        return jax.lax.scan(step, state, jax.random.split(key, _STEPS))

    play = jax.jit(jax.vmap(steps))
    key = jax.random.PRNGKey(0)
    state = jax.jit(jax.vmap(env.reset))(jax.random.split(key, environments))[1]

    def some() -> int:
        nonlocal state, key
        key, now = jax.random.split(key)
        state, outputs = play(state, jax.random.split(now, environments))
        jax.block_until_ready(outputs)
        return _STEPS * environments

    some()
    return lambda: timed(some, seconds)


if __name__ == "__main__":
    main(SMAX, speed)
