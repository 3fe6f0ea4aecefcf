"""Conversion between unit records and the game's protobuf messages.

Map coordinates are shifted so that the centre of the game's playable area is the centre of the battle's square. All
values are rounded by `rounded`, so the single precision of the messages loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mipi_pl.envs.battle.rules_state import ATTACK, HEAL, IDLE, MOVE
from mipi_pl.envs.kernels.records import Record, Records
from mipi_pl.envs.starcraft2 import protobuf

protobuf.enable()
from s2clientprotocol import common_pb2, debug_pb2, raw_pb2, sc2api_pb2  # noqa: E402

Message = Any
"""Message of the game's protocol. Static typing cannot express its fields."""

AGENTS, ENEMIES = 1, 2
"""Unit owners: the first and the second player."""
ABILITIES = {IDLE: 4, MOVE: 16, ATTACK: 23, HEAL: 386}
"""The game's ability id for each order. `IDLE` maps to stop."""
UNIT_IDS = {
    # type: (id for agents, id for enemies). Agents use the variants of SMAC's maps, which never act on their own.
    "baneling": (1935, 9),
    "colossus": (1936, 4),
    "hydralisk": (1937, 107),
    "marauder": (1938, 51),
    "marine": (1939, 48),
    "medivac": (1940, 54),
    "stalker": (1941, 74),
    "zealot": (1942, 73),
    "zergling": (1943, 105),
}


@dataclass(frozen=True)
class Place:
    """Offset of the battle's square on the game's map, added to x and y."""

    x: float = 0.0
    y: float = 0.0

    @classmethod
    def from_playable_area(cls, playable: Message, map_size: float) -> Place:
        """Return the offset that puts the square at the centre of the playable area.

        Raises:
            ValueError: if the square does not fit.
        """
        width, height = playable.p1.x - playable.p0.x, playable.p1.y - playable.p0.y
        if min(width, height) < map_size:
            raise ValueError(
                f"the battle needs a playable area of {map_size:g} x {map_size:g}, but the map has {width:g} x "
                f"{height:g}: lower env.map_size or choose another env.map_name"
            )
        return cls((playable.p0.x + playable.p1.x - map_size) / 2.0, (playable.p0.y + playable.p1.y - map_size) / 2.0)

    def point(self, x: float, y: float) -> Message:
        """Convert a point on the battle's square to a point on the game's map."""
        return common_pb2.Point2D(x=x + self.x, y=y + self.y)


@dataclass(frozen=True)
class Soldier:
    """A unit to create: its slot, owner, unit id, and position (x, y) on the battle's square."""

    slot: int
    owner: int
    unit_id: int
    x: float
    y: float


def army_of(units: Records, n_agents: int, types: Sequence[str]) -> list[Soldier]:
    """Return the units to create for a battle that has just been drawn.

    Args:
        units: records of the battle [E].
        n_agents: A.
        types: type name of each kind.
    """
    army = []
    for slot, unit in enumerate(units):
        if unit.kind >= 0:
            owner = AGENTS if slot < n_agents else ENEMIES
            unit_id = UNIT_IDS[types[int(unit.kind)]][owner - AGENTS]
            army.append(Soldier(slot, owner, unit_id, float(unit.x), float(unit.y)))
    return army


def create(army: Iterable[Soldier], place: Place) -> list[Message]:
    """Return debug commands that create an army."""
    return [
        debug_pb2.DebugCommand(
            create_unit=debug_pb2.DebugCreateUnit(
                unit_type=s.unit_id, owner=s.owner, pos=place.point(s.x, s.y), quantity=1
            )
        )
        for s in army
    ]


def kill(tags: Iterable[int]) -> Message:
    """Return a debug command that removes units."""
    return debug_pb2.DebugCommand(kill_unit=debug_pb2.DebugKillUnit(tag=tags))


def control_enemy() -> Message:
    """Return a debug command that lets the first player command the units of the second."""
    return debug_pb2.DebugCommand(game_state=debug_pb2.control_enemy)


def recognise(found: Sequence[Message], army: Sequence[Soldier], place: Place) -> dict[int, int]:
    """Map the game's tag of each unit to its slot, matching owner and type and preferring the nearest position.

    Args:
        found: units in the game.
        army: requested units.
        place: offset of the battle on the map.

    Raises:
        LookupError: if the units in the game are not the requested ones.
    """
    if sorted((u.owner, u.unit_type) for u in found) != sorted((s.owner, s.unit_id) for s in army):
        raise LookupError(f"expected the {len(army)} requested units, got {len(found)} units or other types")
    pairs = sorted(
        ((u.pos.x - place.x - s.x) ** 2 + (u.pos.y - place.y - s.y) ** 2, s.slot, u.tag)
        for u in found
        for s in army
        if (u.owner, u.unit_type) == (s.owner, s.unit_id)
    )
    slots: dict[int, int] = {}
    taken: set[int] = set()
    for _, slot, tag in pairs:
        if tag not in slots and slot not in taken:
            slots[tag] = slot
            taken.add(slot)
    return slots


def read_units(found: Iterable[Message], slots: dict[int, int], units: Records, place: Place) -> None:
    """Write the state of one battle's units into their records [E]. Units missing from `found` are dead."""
    living = set()
    for message in found:
        slot = slots.get(message.tag)
        if slot is None:
            continue
        living.add(slot)
        _read_unit(message, units[slot], place)
    for slot in set(slots.values()) - living:
        units[slot].alive, units[slot].health = 0, 0.0


def _read_unit(message: Message, unit: Record, place: Place) -> None:
    unit.alive = 1
    unit.x, unit.y = message.pos.x - place.x, message.pos.y - place.y
    unit.health, unit.shield, unit.energy = message.health, message.shield, message.energy
    unit.cooldown = message.weapon_cooldown
    # The map's variants of a unit may differ from the unit table; the game's values take precedence.
    unit.health_max = message.health_max or unit.health_max
    unit.shield_max = message.shield_max or unit.shield_max
    unit.energy_max = message.energy_max or unit.energy_max


def orders(units: Records, tags: dict[int, int], n_agents: int, place: Place) -> list[Message]:
    """Convert the orders of the living agents to actions of the game.

    Args:
        units: records of one battle [E].
        tags: the game's tag of each slot.
        n_agents: A.
        place: offset of the battle on the map.
    """
    actions = []
    for slot in range(n_agents):
        unit = units[slot]
        if not unit.alive:
            continue
        command = raw_pb2.ActionRawUnitCommand(ability_id=ABILITIES[int(unit.order)], unit_tags=[tags[slot]])
        if unit.order == MOVE:
            command.target_world_space_pos.CopyFrom(place.point(unit.goal_x, unit.goal_y))
        elif unit.order in (ATTACK, HEAL):
            command.target_unit_tag = tags[int(unit.target)]
        actions.append(_action(command))
    return actions


def attack_move(tags: Sequence[int], x: float, y: float, place: Place) -> Message:
    """Return the only order that the enemies get: an attack-move to the agents' spawn point (x, y)."""
    return _action(
        raw_pb2.ActionRawUnitCommand(
            ability_id=ABILITIES[ATTACK], unit_tags=tags, target_world_space_pos=place.point(x, y)
        )
    )


def _action(command: Message) -> Message:
    return sc2api_pb2.Action(action_raw=raw_pb2.ActionRaw(unit_command=command))


def game_request(map_name: str, map_data: bytes, seed: int) -> Message:
    """Return a request for a game against the built-in player that advances only on request, not in real time."""
    request = sc2api_pb2.RequestCreateGame(
        local_map=sc2api_pb2.LocalMap(map_path=map_name, map_data=map_data), realtime=False, random_seed=seed
    )
    request.player_setup.add(type=sc2api_pb2.Participant)
    request.player_setup.add(type=sc2api_pb2.Computer, race=common_pb2.Terran, difficulty=sc2api_pb2.VeryHard)
    return request


def join_request() -> Message:
    """Return a request to join with the raw unit interface, without rendered images."""
    return sc2api_pb2.RequestJoinGame(
        race=common_pb2.Terran, options=sc2api_pb2.InterfaceOptions(raw=True, score=False)
    )


def action_request(actions: list[Message]) -> Message:
    """Return a request that sends several actions at once."""
    return sc2api_pb2.RequestAction(actions=actions)
