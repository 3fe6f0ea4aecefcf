"""A stand-in for StarCraft II that speaks the game's protocol and uses the simulator as its physics.

It knows what the game knows: units of some type at some place, orders, time. Of actions, features, tags and rewards it
knows nothing. Numbers have the game's fixed point of 1/4096. What it should do beyond that stands in the JSON file that
STAND_IN names: the scenario (for its unit table and rules) and faults.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

from mipi_pl.envs.battle import rules_spawn
from mipi_pl.envs.battle.rules import play_loop, serial_entries
from mipi_pl.envs.battle.rules_judge import outcome
from mipi_pl.envs.battle.rules_rounding import rounded
from mipi_pl.envs.battle.rules_state import (
    ATTACK,
    GOING_ON,
    HEAL,
    IDLE,
    MOVE,
    UNIT,
    make_battles,
    make_pairs,
    make_units,
)
from mipi_pl.envs.battle.scenario import Scenario, type_groups
from mipi_pl.envs.kernels.compiled import entry
from mipi_pl.envs.kernels.records import Output
from mipi_pl.envs.starcraft2 import protobuf

protobuf.enable()
from s2clientprotocol import common_pb2, data_pb2, debug_pb2, raw_pb2  # noqa: E402
from s2clientprotocol import sc2api_pb2 as sc  # noqa: E402

OFFSET = 8.0  # of the playable area from the corner of the map
NONSENSE = {"nonsense": b"\xff" * 9, "text": "no message"}
"""The beginning of a message that is cut off; a frame of text, where there should be bytes."""
CUSTOM = {
    "baneling": 1935, "colossus": 1936, "hydralisk": 1937, "marauder": 1938, "marine": 1939, "medivac": 1940,
    "stalker": 1941, "zealot": 1942, "zergling": 1943,
}  # fmt: skip
USUAL = {"colossus": 4, "marauder": 51, "marine": 48, "medivac": 54, "stalker": 74, "zealot": 73}
ORDERS = {4: IDLE, 16: MOVE, 23: ATTACK, 386: HEAL}


@entry("mipi_pl.envs.battle")
def _play(battles, units, pairs, world, loops):  # type: ignore[no-untyped-def]
    for _ in range(loops):
        if outcome(units[0], world.rules[0]) == GOING_ON:
            play_loop(battles[0], units[0], pairs[0], world.damage, world.rules[0])


class Field:
    """One battlefield."""

    def __init__(self, setting: dict[str, Any]) -> None:
        known = {**setting["scenario"], "groups": type_groups(setting["scenario"]["groups"])}
        self.scenario = Scenario(**{**known, "team_sizes": tuple(known["team_sizes"])})
        self.triggers, self.setting = bool(setting.get("triggers")), setting
        self.names = [unit.name for unit in self.scenario.types]
        self.world, self.n = self.scenario.world(), self.scenario.capacity
        slots = self.n + self.scenario.enemy_capacity
        self.battles, self.units, self.pairs = make_battles(1), make_units(1, slots), make_pairs(1, slots)
        self.tags: dict[int, int] = {}
        self.next_tag, self.loop, self.steps = 1 << 32, 0, 0
        self.waiting: list[Any] = []
        self.controls_enemy, self.marching = False, bool(setting.get("marching"))
        _play(self.battles, make_units(1, slots), self.pairs, self.world, 0)  # compiled before anybody waits

    def slot_of(self, tag: int) -> int:
        return next(slot for slot, known in self.tags.items() if known == tag)

    def debug(self, command: Any) -> None:
        if command.game_state == debug_pb2.control_enemy:
            self.controls_enemy = True
        else:
            self.waiting.append(command)  # the game does such things with its next loop

    def step(self, count: int) -> None:
        for command in self.waiting:
            for tag in command.kill_unit.tag:
                self.units[0, self.slot_of(tag)].alive = 0
        if not self.units["alive"].any():
            self.units["kind"], self.tags, self.marching = -1, {}, bool(self.setting.get("marching"))
            if self.triggers:
                self.spring_up()
        for command in self.waiting:
            if command.HasField("create_unit"):
                self.create(command.create_unit)
        self.waiting = []
        if self.marching or self.triggers:
            _play(self.battles, self.units, self.pairs, self.world, count)
        self.loop += count

    def create(self, wanted: Any) -> None:
        ids = CUSTOM if wanted.owner == 1 else USUAL
        name = next(name for name, number in ids.items() if number == wanted.unit_type)
        first = 0 if wanted.owner == 1 else self.n
        slot = next(i for i in range(first, len(self.units[0])) if self.units[0, i].kind < 0)
        unit = self.units[0, slot]
        for field in UNIT.names:
            unit[field] = 0
        unit.kind, unit.target = self.names.index(name), -1
        rules_spawn._outfit.py_func(unit, self.world.kinds[unit.kind])
        unit.x, unit.y = wanted.pos.x - OFFSET, wanted.pos.y - OFFSET
        self.tags[slot] = self.next_tag = self.next_tag + 7

    def spring_up(self) -> None:
        """What a map with triggers does when its field is empty."""
        a, e, layout = self.n, self.units.shape[1], self.scenario.layout
        flags = [np.zeros(shape, dtype=bool) for shape in ((1, e), (1, a, e), (1, a, layout.n_actions))]
        out = Output(np.zeros((1, e, layout.n_features), dtype=np.float32), *flags, np.zeros(1, dtype=np.int64),
                     np.zeros(1, dtype=np.float32), *(np.zeros(1, dtype=bool) for _ in range(3)))  # fmt: skip
        everything = (self.battles, self.units, self.pairs, self.world, layout.first_columns(), out)
        serial_entries.begin(np.ones(1, dtype=bool), *everything)
        self.tags = {}
        for slot in range(e):
            if self.units[0, slot].kind >= 0:
                self.tags[slot] = self.next_tag = self.next_tag + 7

    def act(self, command: Any) -> str:
        for tag in command.unit_tags:
            slot = self.slot_of(tag)
            unit = self.units[0, slot]
            if not unit.alive:
                return f"unit {tag} is dead"
            if slot >= self.n:
                if not self.controls_enemy:
                    return "the enemy is not yours"
                goal = command.target_world_space_pos
                self.battles[0].agents_x, self.battles[0].agents_y = goal.x - OFFSET, goal.y - OFFSET
                self.marching = True
                continue
            unit.order, unit.target = ORDERS[command.ability_id], -1
            if unit.order == MOVE:
                goal = command.target_world_space_pos
                unit.goal_x, unit.goal_y = goal.x - OFFSET, goal.y - OFFSET
            elif unit.order in (ATTACK, HEAL):
                unit.target = self.slot_of(command.target_unit_tag)
        return ""

    def observation(self) -> Any:
        units = [self.message(slot) for slot in sorted(self.tags, reverse=True) if self.units[0, slot].alive]
        return sc.ResponseObservation(
            observation=sc.Observation(game_loop=self.loop, raw_data=raw_pb2.ObservationRaw(units=units))
        )

    def message(self, slot: int) -> Any:
        unit, mine = self.units[0, slot], slot < self.n
        name = self.names[int(unit.kind)]
        tell = lambda value: rounded.py_func(float(value))  # noqa: E731
        return raw_pb2.Unit(
            display_type=raw_pb2.Visible, alliance=raw_pb2.Self if mine else raw_pb2.Enemy, tag=self.tags[slot],
            unit_type=CUSTOM[name] if mine else USUAL[name], owner=1 if mine else 2,
            pos=common_pb2.Point(x=tell(unit.x) + OFFSET, y=tell(unit.y) + OFFSET, z=0.0), facing=0.0,
            radius=unit.radius, is_flying=bool(unit.flies), health=tell(unit.health), health_max=unit.health_max,
            shield=tell(unit.shield), shield_max=unit.shield_max, energy=tell(unit.energy), energy_max=unit.energy_max,
            weapon_cooldown=tell(max(unit.cooldown, 0.0)) if mine else 0.0,
        )  # fmt: skip


class Server:
    """Answers requests one after the other; a fault of the setting happens once, in the process with its seed."""

    def __init__(self, setting: dict[str, Any]) -> None:
        self.setting, self.field = setting, Field(setting)
        self.status, self.seed, self.played, self.garbled = sc.launched, 0, 0, ""

    def fail(self) -> None:
        fault = self.setting.get("fault")
        if not fault or fault["seed"] not in (None, self.seed) or self.played < fault["step"]:
            return
        if fault["kind"] == "slow":
            time.sleep(0.05)
            return
        try:
            Path(fault["marker"]).touch(exist_ok=False)
        except FileExistsError:
            return
        if fault["kind"] in NONSENSE:
            self.garbled = fault["kind"]
            return
        if fault["kind"] == "exit":
            os._exit(3)
        if fault["kind"] == "kill":
            os.kill(os.getpid(), 9)
        time.sleep(600)

    def answer(self, request: Any) -> bytes | str:
        kind, response = request.WhichOneof("request"), sc.Response(id=request.id)
        if kind == "step" and request.step.count > 1:
            self.played += 1
            self.fail()
        handler = getattr(self, f"on_{kind}", None)
        if handler is None:
            response.error.append(f"the stand-in knows no {kind}")
        else:
            found = handler(getattr(request, kind))
            if isinstance(found, str):
                response.error.append(found)
            else:
                getattr(response, kind).CopyFrom(found)
        response.status = self.status
        return NONSENSE[self.garbled] if self.garbled else response.SerializeToString()

    def on_ping(self, _: Any) -> Any:
        return sc.ResponsePing(game_version="4.10.0.75689", data_version="", data_build=75689, base_build=75689)

    def on_create_game(self, wanted: Any) -> Any:
        self.seed, self.status = wanted.random_seed, sc.init_game
        assert wanted.local_map.map_data == b"a map"
        return sc.ResponseCreateGame()

    def on_join_game(self, _: Any) -> Any:
        self.status = sc.in_game
        if self.field.triggers:
            self.field.battles["random"] = self.seed
            self.field.spring_up()
        return sc.ResponseJoinGame(player_id=1)

    def on_game_info(self, _: Any) -> Any:
        size = int(self.field.scenario.map_size + 2 * OFFSET)
        low, high = int(OFFSET), int(OFFSET + self.setting.get("playable", self.field.scenario.map_size))
        grid = common_pb2.ImageData(bits_per_pixel=8, size=common_pb2.Size2DI(x=size, y=size), data=bytes(size * size))
        area = common_pb2.RectangleI(p0=common_pb2.PointI(x=low, y=low), p1=common_pb2.PointI(x=high, y=high))
        start = raw_pb2.StartRaw(
            map_size=common_pb2.Size2DI(x=size, y=size), pathing_grid=grid, terrain_height=grid, playable_area=area
        )
        return sc.ResponseGameInfo(start_raw=start)

    def on_data(self, _: Any) -> Any:
        """Unit types of a map whose own ones come last, after those of the game."""
        return sc.ResponseData(units=[data_pb2.UnitTypeData(unit_id=k) for k in range(max(CUSTOM.values()) + 1)])

    def on_observation(self, _: Any) -> Any:
        return self.field.observation()

    def on_debug(self, wanted: Any) -> Any:
        for command in wanted.debug:
            self.field.debug(command)
        return sc.ResponseDebug()

    def on_action(self, wanted: Any) -> Any:
        for action in wanted.actions:
            if mistake := self.field.act(action.action_raw.unit_command):
                return mistake
        return sc.ResponseAction(result=[1] * len(wanted.actions))

    def on_step(self, wanted: Any) -> Any:
        self.field.step(wanted.count)
        return sc.ResponseStep()

    def on_save_replay(self, _: Any) -> Any:
        return sc.ResponseSaveReplay(data=f"{self.field.loop} loops".encode())

    def on_restart_game(self, _: Any) -> Any:
        self.field.__init__(self.setting)  # type: ignore[misc]
        return sc.ResponseRestartGame()


async def serve(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(max_msg_size=0, decode_text=False)  # pysc2 sends bytes as if they were text
    await socket.prepare(request)
    async for message in socket:
        if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
            wanted = sc.Request.FromString(message.data)
            if wanted.WhichOneof("request") == "quit":
                os._exit(0)
            answer = request.app["server"].answer(wanted)
            await (socket.send_str(answer) if isinstance(answer, str) else socket.send_bytes(answer))
    return socket


def main() -> None:
    setting = json.loads(Path(os.environ["STAND_IN"]).read_text(encoding="utf-8"))
    if setting.get("dead_at_start"):
        sys.exit(1)
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    app = web.Application()
    app["server"] = Server(setting)
    app.router.add_get("/sc2api", serve)
    web.run_app(app, host=options["-listen"], port=int(options["-port"]), print=None, handle_signals=False)
