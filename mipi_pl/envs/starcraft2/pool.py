"""Pool of idle game processes. Starting a game takes long, so environments reuse them."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock

from mipi_pl.envs.starcraft2.game import Game, GameOptions

_IDLE: list[tuple[GameOptions, Game]] = []
_LOCK = Lock()


def take(options: GameOptions) -> Game:
    """Return an idle game with these options (its seed may differ), or start a new process.

    Raises:
        GameError: if the process cannot be started.
        ValueError: if the map is too small.
    """
    with _LOCK:
        for index, (idle_options, game) in enumerate(_IDLE):
            if replace(idle_options, seed=options.seed) == options:
                del _IDLE[index]
                return game
    return Game(options)


def give_back(options: GameOptions, game: Game) -> None:
    """Return a working game to the pool. All games end with the Python process."""
    with _LOCK:
        _IDLE.append((options, game))


def close_idle() -> None:
    """Close all idle games."""
    with _LOCK:
        games, _IDLE[:] = [game for _, game in _IDLE], []
    for game in games:
        game.close()
