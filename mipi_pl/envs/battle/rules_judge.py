"""How a battle stands after a step and what the step pays, from what is told of the units before and after it.

The simulator and the real game are judged by the same functions.
"""

from __future__ import annotations

from mipi_pl.envs.battle.rules_state import DRAWN, GOING_ON, LOST, TIME_UP, WON
from mipi_pl.envs.battle.rules_told import told
from mipi_pl.envs.kernels.compiled import rule
from mipi_pl.envs.kernels.records import Record, Records


@rule
def outcome(units: Records, rules: Record) -> int:
    """Over when a side has nobody left that can fight; won when that is the enemy alone."""
    agents = False
    for i in range(units.size):
        if units[i].alive and units[i].fights:
            if i >= rules.n_agents:
                return GOING_ON if agents else LOST
            agents = True
    return WON if agents else DRAWN


@rule
def vitality_of(unit: Record) -> float:
    """Health and shield as they are told; 0 for the dead and in an empty slot."""
    return told(unit.health) + told(unit.shield) if unit.alive else 0.0


@rule
def note_vitality(units: Records) -> None:
    """Remember the health and shield of all: the next step is paid by what they lose from here."""
    for i in range(units.size):
        units[i].vitality = vitality_of(units[i])


@rule
def judge(battle: Record, units: Records, rules: Record) -> float:
    """Count a step that was played, see whether the battle is over, and return the step's reward, unscaled.

    That is, for each enemy, what it has lost of health and shield over the step (nothing, should it have been healed by
    more), something for each that died, and something for the victory.
    """
    reward = 0.0
    for i in range(rules.n_agents, units.size):
        now = vitality_of(units[i])
        reward += max(units[i].vitality - now, 0.0)
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
