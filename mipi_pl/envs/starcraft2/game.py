"""One StarCraft II process: start, battles, replays and shutdown. All its failures are raised as `GameError`."""

from __future__ import annotations

import atexit
import contextlib
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mipi_pl.envs.kernels.records import Records
from mipi_pl.envs.starcraft2 import messages
from mipi_pl.envs.starcraft2.installation import Installation
from mipi_pl.envs.starcraft2.messages import Message, Place, Soldier
from mipi_pl.storage.files import replacing

_MAX_WAIT_LOOPS = 60  # game loops within which created units must appear and killed units disappear
_RUNNING: weakref.WeakSet[Game] = weakref.WeakSet()


class GameError(RuntimeError):
    """The game died, hangs or sent an invalid answer. Its process can no longer be used."""


@dataclass(frozen=True)
class GameOptions:
    """Start options of a game process.

    Attributes:
        installation: installed game to run.
        map_file: file of the map.
        map_size: side of the battle's square, in map units.
        seed: seed of the game's own draws.
        start_timeout_s: maximum time for the game to start.
        timeout_s: maximum time for the game to answer.
    """

    installation: Installation
    map_file: Path
    map_size: float
    seed: int
    start_timeout_s: int
    timeout_s: int


class Game:
    """A game process, controlled through the connection of one player.

    Args:
        options: start options.

    Attributes:
        battles: number of battles fought in the current game.
        version: version that the game reports.

    Raises:
        GameError: if the process cannot be started.
        ValueError: if the map is too small.
    """

    def __init__(self, options: GameOptions) -> None:
        self._options = options
        self._process: Any = None
        self._slots: dict[int, int] = {}
        self._tags: dict[int, int] = {}
        self.battles, self.version = 0, ""
        _RUNNING.add(self)
        try:
            with _failures():
                self._start()
        except BaseException:
            self.kill()
            raise

    def _start(self) -> None:
        options = self._options
        self._process = _launch(options.installation, options.start_timeout_s)
        self._controller = self._process.controller
        self.version = str(self._controller.ping().game_version)
        data = options.map_file.read_bytes()
        name = str(options.map_file.relative_to(options.installation.folder / "Maps"))
        self._controller.create_game(messages.game_request(name, data, options.seed))
        self._controller.join_game(messages.join_request())
        area = self._controller.game_info().start_raw.playable_area
        self.place = Place.from_playable_area(area, options.map_size)
        # pysc2 uses one timeout for start and answers, but a start takes much longer than an answer may.
        self._controller._client._sock.settimeout(options.timeout_s)

    def begin(self, army: Sequence[Soldier], towards: tuple[float, float], units: Records) -> None:
        """Remove all units, create both armies and order the enemies to attack-move to `towards`.

        Args:
            army: units to create.
            towards: point (x, y) on the battle's square.
            units: records [E] that the created units are written into.

        Raises:
            GameError: if the game fails.
        """
        with _failures():
            if left := self._look():
                self._controller.debug([messages.kill(u.tag for u in left)])
                self._wait_for(0)
            self._controller.debug([*messages.create(army, self.place), messages.control_enemy()])
            created = self._wait_for(len(army))
            self._slots = messages.recognise(created, army, self.place)
            self._tags = {slot: tag for tag, slot in self._slots.items()}
            enemies = [self._tags[s.slot] for s in army if s.owner == messages.ENEMIES]
            order = messages.attack_move(enemies, *towards, self.place)
            self._controller.actions(messages.action_request([order]))
            messages.read_units(created, self._slots, units, self.place)
            self.battles += 1

    def play(self, units: Records, n_agents: int, loops: int) -> None:
        """Issue the agents' orders, play some game loops and read the units.

        Args:
            units: records [E]; holds the orders and receives the state after the last loop.
            n_agents: A.
            loops: number of game loops.

        Raises:
            GameError: if the game fails; `units` is then unchanged.
        """
        with _failures():
            orders = messages.orders(units, self._tags, n_agents, self.place)
            self._controller.actions(messages.action_request(orders))
            self._controller.step(loops)
            messages.read_units(self._look(), self._slots, units, self.place)

    def save_replay(self, path: Path) -> None:
        """Save a replay of all battles of the current game.

        Raises:
            GameError: if the game fails.
            OSError: if the file cannot be written.
        """
        with _failures():
            data = self._controller.save_replay()
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            unfinished.write_bytes(data)

    def restart(self) -> None:
        """Start a new game, and with it a new replay, in the same process.

        Raises:
            GameError: if the game fails.
        """
        with _failures():
            self._controller.restart()
        self.battles = 0

    def close(self) -> None:
        """Ask the process to quit."""
        with contextlib.suppress(Exception):  # the process may already have ended, in any way
            if self._process is not None:
                self._process.close()
        self._process = None

    def kill(self) -> None:
        """Kill the process, even if it does not answer."""
        process = getattr(self._process, "_proc", None)  # pysc2's own close would first ask it to quit and wait
        if process is not None:
            process.kill()
        self.close()

    def _look(self) -> list[Message]:
        """Return all living units of both sides."""
        observation = self._controller.observe(disable_fog=True).observation
        sides = (messages.AGENTS, messages.ENEMIES)
        return [u for u in observation.raw_data.units if u.owner in sides and u.health > 0]

    def _wait_for(self, count: int) -> list[Message]:
        for _ in range(_MAX_WAIT_LOOPS):
            self._controller.step(1)
            units = self._look()
            if len(units) == count:
                return units
        raise GameError(
            f"expected {count} units within {_MAX_WAIT_LOOPS} game loops, got {len(units)}; use a map that defines the "
            "units of SMAC's maps"
        )


def _launch(installation: Installation, timeout_s: int) -> Any:
    from absl import flags
    from pysc2 import run_configs

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["mipi"])  # pysc2 reads absl flags; parsing no arguments keeps their defaults
    config = run_configs.get()
    build = config.version._replace(build_version=installation.build)
    if build.build_version != config.version.build_version:
        known = [v for v in config.get_versions().values() if v.build_version == installation.build]
        build = known[0] if known else build._replace(data_version=None)
    config.version = build
    return config.start(want_rgb=False, timeout_seconds=timeout_s)


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Convert every failure of pysc2 and of the game to `GameError`."""
    from google.protobuf.message import DecodeError
    from pysc2.lib import protocol, remote_controller, sc_process
    from websocket import WebSocketException

    failures = (
        protocol.ConnectionError,
        protocol.ProtocolError,
        remote_controller.ConnectError,
        remote_controller.RequestError,
        sc_process.SC2LaunchError,
        DecodeError,
        WebSocketException,
        OSError,
        LookupError,
        AttributeError,  # pysc2 drops its socket when the game has quit
        TypeError,  # pysc2 does not check that an answer is bytes and not text
    )
    try:
        yield
    except failures as error:
        raise GameError(
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
        ) from error


@atexit.register
def _kill_all() -> None:
    for game in list(_RUNNING):
        game.kill()
