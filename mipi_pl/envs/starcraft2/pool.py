"""Running games that nobody plays at the moment: starting one takes long, so environments pass them on."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock

from mipi_pl.envs.starcraft2.game import Game, GameOptions

_IDLE: list[tuple[GameOptions, Game]] = []
_LOCK = Lock()


def take(options: GameOptions) -> Game:
    """A game with these options, an idle one (started with any seed) or a new process.

    Raises:
        GameError: if it cannot be started.
        ValueError: if the map is too small.
    """
    with _LOCK:
        for place, (of_idle, game) in enumerate(_IDLE):
            if replace(of_idle, seed=options.seed) == options:
                del _IDLE[place]
                return game
    return Game(options)


def give_back(options: GameOptions, game: Game) -> None:
    """Keep a game that works for whoever needs one next; all end with Python."""
    with _LOCK:
        _IDLE.append((options, game))


def close_idle() -> None:
    """End all games that nobody plays."""
    with _LOCK:
        games, _IDLE[:] = [game for _, game in _IDLE], []
    for game in games:
        game.close()
