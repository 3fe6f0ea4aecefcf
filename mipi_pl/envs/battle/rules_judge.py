"""Outcome and reward of a step, computed from the observed units before and after it, and their output.

The simulator and StarCraft II use the same functions.
"""

from __future__ import annotations

from mipi_pl.envs.battle.rules_rounding import rounded
from mipi_pl.envs.battle.rules_state import DRAWN, GOING_ON, LOST, TIME_UP, WON
from mipi_pl.envs.kernels.compiled import rule
from mipi_pl.envs.kernels.records import Output, Record, Records


@rule
def outcome(units: Records, rules: Record) -> int:
    """Return the outcome. A side without a living armed unit has lost; if both sides have none, it is a draw."""
    agents = False
    for i in range(units.size):
        if units[i].alive and units[i].fights:
            if i >= rules.n_agents:
                return GOING_ON if agents else LOST
            agents = True
    return WON if agents else DRAWN


@rule
def vitality_of(unit: Record) -> float:
    """Return health plus shield, both rounded by `rounded`; 0 for dead units and empty slots."""
    return rounded(unit.health) + rounded(unit.shield) if unit.alive else 0.0


@rule
def note_vitality(units: Records) -> None:
    """Store health plus shield of all units, the reference for the reward of the next step."""
    for i in range(units.size):
        units[i].vitality = vitality_of(units[i])


@rule
def judge(battle: Record, units: Records, rules: Record) -> float:
    """Count a step, update the outcome of the battle and return the unscaled reward of the step.

    The reward is the health and shield that each enemy lost in the step (0 if it gained some), `kill_reward` for each
    enemy that died, and `win_reward` for the victory.
    """
    reward = 0.0
    for i in range(rules.n_agents, units.size):
        vitality = vitality_of(units[i])
        reward += max(units[i].vitality - vitality, 0.0)
        if units[i].vitality > 0.0 and not units[i].alive:
            reward += rules.kill_reward
    note_vitality(units)
    battle.steps += 1
    battle.ended = outcome(units, rules)
    if battle.ended == WON:
        reward += rules.win_reward
    elif battle.ended == GOING_ON and battle.steps >= rules.episode_limit:
        battle.ended = TIME_UP
    return reward


@rule
def write_result(out: Output, b: int, battle: Record, reward: float, draws: Records) -> None:
    """Write the scaled reward of a step of battle `b`, how the battle ended, and its composition."""
    out.reward[b] = reward * draws[battle.composition].reward_scale
    out.terminated[b] = battle.ended == WON or battle.ended == LOST or battle.ended == DRAWN
    out.truncated[b] = battle.ended == TIME_UP
    out.won[b] = battle.ended == WON
    out.composition[b] = battle.composition
