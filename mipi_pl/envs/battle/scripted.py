"""Scripted policies for the agents, for comparison: `random`, `attack_nearest` and `focus_fire`.

They only choose available agent actions but use the full state of the battle. Healers heal the most wounded ally within
range; otherwise they follow the most wounded ally or the army.
"""

from __future__ import annotations

import numpy as np
from torchrl.envs import EnvBase, TransformedEnv

from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.envs.battle.rules_observe import is_available
from mipi_pl.envs.battle.rules_state import FIRST_MOVE, FIRST_TARGET, NO_OP, STOP
from mipi_pl.envs.kernels.compiled import entry, rule
from mipi_pl.envs.kernels.random import below
from mipi_pl.envs.kernels.records import Record, Records
from mipi_pl.envs.kernels.scripted import ScriptedPolicy

POLICIES = {name: number for number, name in enumerate(BattleEnv.scripted)}
"""Name of each scripted policy and its number in the kernel."""


@rule
def _random_action(units: Records, i: int, damage: np.ndarray, rules: Record, generator: Record) -> int:
    """Draw uniformly from the available actions."""
    count = 0
    for action in range(rules.n_actions):
        count += int(is_available(units, i, action, damage, rules))
    remaining = below(generator, count)
    for action in range(rules.n_actions):
        if is_available(units, i, action, damage, rules):
            if remaining == 0:
                return action
            remaining -= 1
    return NO_OP


@rule
def _walk(units: Records, i: int, x: float, y: float, damage: np.ndarray, rules: Record) -> int:
    """Return the available move that leads best towards (x, y), or stop if no move gains more than 0.5."""
    dx, dy = x - units[i].x, y - units[i].y
    best, best_gain = STOP, 0.5  # distance to (x, y) along the direction of the move
    for k in range(4):  # north, south, east, west
        gain = dy if k == 0 else -dy if k == 1 else dx if k == 2 else -dx
        if gain > best_gain and is_available(units, i, FIRST_MOVE + k, damage, rules):
            best, best_gain = FIRST_MOVE + k, gain
    return best


@rule
def _fight(units: Records, i: int, weakest: bool, damage: np.ndarray, rules: Record) -> int:
    """Attack the nearest (or weakest) enemy in range, armed enemies first; if none is in range, walk to the nearest."""
    unit = units[i]
    best, best_value = -1, np.inf
    nearest, nearest_value = -1, np.inf
    for j in range(rules.n_agents, units.size):
        enemy = units[j]
        if not enemy.alive or damage[unit.kind, enemy.kind] == 0.0:
            continue
        dx, dy = enemy.x - unit.x, enemy.y - unit.y
        penalty = 0.0 if enemy.fights else 1e6
        distance = penalty + dx * dx + dy * dy
        value = penalty + enemy.health + enemy.shield if weakest else distance
        if distance < nearest_value:
            nearest, nearest_value = j, distance
        if value < best_value and is_available(units, i, FIRST_TARGET + enemy.tag, damage, rules):
            best, best_value = j, value
    if best >= 0:
        return FIRST_TARGET + units[best].tag
    return _walk(units, i, units[nearest].x, units[nearest].y, damage, rules) if nearest >= 0 else STOP


@rule
def _heal(units: Records, i: int, damage: np.ndarray, rules: Record) -> int:
    """Heal the most wounded ally in range; otherwise walk to the most wounded ally, or to the army's centre."""
    best, best_share = -1, 1.0
    far, far_share = -1, 1.0
    x, y, count = 0.0, 0.0, 0
    for j in range(rules.n_agents):
        ally = units[j]
        if not ally.alive:
            continue
        if ally.fights:
            x, y, count = x + ally.x, y + ally.y, count + 1
        share = ally.health / ally.health_max
        if ally.healable and share < far_share:
            far, far_share = j, share
        if share < best_share and is_available(units, i, FIRST_TARGET + rules.n_enemies + ally.tag, damage, rules):
            best, best_share = j, share
    if best >= 0:
        return FIRST_TARGET + rules.n_enemies + units[best].tag
    if far >= 0:
        return _walk(units, i, units[far].x, units[far].y, damage, rules)
    return _walk(units, i, x / count, y / count, damage, rules) if count > 0 else STOP


@entry(__package__)
def _choose(policy, generators, units, world, action):  # type: ignore[no-untyped-def]
    rules, damage = world.rules[0], world.damage
    for b in range(action.shape[0]):
        for i in range(rules.n_agents):
            if not units[b, i].alive:
                action[b, i] = NO_OP
            elif policy == 0:
                action[b, i] = _random_action(units[b], i, damage, rules, generators[b])
            elif units[b, i].heals:
                action[b, i] = _heal(units[b], i, damage, rules)
            else:
                action[b, i] = _fight(units[b], i, policy == 2, damage, rules)


def make_scripted(name: str, env: EnvBase, seed: int = 0) -> ScriptedPolicy:
    """Return a scripted policy for a battle.

    Args:
        name: one of `POLICIES`.
        env: battle, which may be wrapped in transforms.
        seed: seed of the policy `random`.

    Raises:
        ValueError: if the name is unknown.
        TypeError: if `env` is not a battle.
    """
    base = env.base_env if isinstance(env, TransformedEnv) else env
    if not isinstance(base, BattleEnv):
        raise TypeError(f"scripted policies need a BattleEnv, got {type(base).__name__}")
    if name not in POLICIES:
        raise ValueError(f"scripted policies are {', '.join(POLICIES)}, got {name!r}")
    number = POLICIES[name]
    return ScriptedPolicy(
        base, seed, lambda generators, action: _choose(number, generators, base.units, base.world, action)
    )
