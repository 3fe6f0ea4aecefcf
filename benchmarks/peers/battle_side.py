"""What the three sides of the comparison of battles have in common: their command line."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from battle_questions import Simulator, ask
from turns import claim_output, my_turn, report

Turn = Callable[[], dict[str, float]]


def timed(play: Callable[[], int], seconds: float) -> float:
    """Environment steps per second of calls that return how many steps they played."""
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds or not steps:
        steps += play()
    return steps / (time.perf_counter() - start)


def main(simulator: Callable[[], Simulator], speed: Callable[[int, float], Turn]) -> None:
    """Work whenever it is our turn: `rules` answers all questions at once, `speed` measures for some seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("rules", "speed"))
    parser.add_argument("--episodes", type=int, default=100, help="battles on each map")
    parser.add_argument("--environments", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    output = claim_output()
    if options.what == "speed":
        turn = speed(options.environments, options.seconds)
        while my_turn():
            report(output, turn())
    elif my_turn():
        report(output, ask(simulator(), options.episodes))
