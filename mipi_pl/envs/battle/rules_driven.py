"""Entry points for a battle whose physics runs elsewhere, such as in StarCraft II.

They write orders, and compute observations and rewards from the units. The functions are those that the simulator uses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mipi_pl.envs.battle.rules_combat import give_order
from mipi_pl.envs.battle.rules_judge import judge, note_vitality, write_result
from mipi_pl.envs.battle.rules_observe import observe
from mipi_pl.envs.battle.rules_state import GOING_ON
from mipi_pl.envs.kernels.compiled import entry


class DrivenEntries(NamedTuple):
    """Compiled loops over battles."""

    order: Callable[..., None]
    """(action int64 [B, A], battles, units, world): writes the agents' orders into the units."""
    look: Callable[..., None]
    """(rows bool [B], battles, units, world, columns, out): writes the first observation of new battles."""
    judge: Callable[..., None]
    """(battles, units, world, columns, out): writes reward, end flags and observation after a step of all battles."""


@entry(__package__)
def _order(action, battles, units, world):  # type: ignore[no-untyped-def]
    rules = world.rules[0]
    for b in range(action.shape[0]):
        if battles[b].ended == GOING_ON:
            for i in range(rules.n_agents):
                if units[b, i].alive:
                    give_order(units[b], i, action[b, i], rules)


@entry(__package__)
def _look(rows, battles, units, world, columns, out):  # type: ignore[no-untyped-def]
    rules = world.rules[0]
    for b in range(rows.size):
        if rows[b]:
            note_vitality(units[b])
            out.composition[b] = battles[b].composition
            observe(
                units[b], world.damage, rules, columns, out.entities[b], out.present[b], out.visible[b],
                out.action_mask[b],
            )  # fmt: skip


@entry(__package__)
def _judge(battles, units, world, columns, out):  # type: ignore[no-untyped-def]
    rules = world.rules[0]
    for b in range(battles.size):
        battle = battles[b]
        reward = judge(battle, units[b], rules) if battle.ended == GOING_ON else 0.0
        write_result(out, b, battle, reward, world.draws)
        observe(
            units[b], world.damage, rules, columns, out.entities[b], out.present[b], out.visible[b],
            out.action_mask[b],
        )  # fmt: skip


driven_entries = DrivenEntries(_order, _look, _judge)
