"""What the three sides of the comparison of battles have in common: their command line."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from battle_questions import Simulator, ask
from turns import claim_output, my_turn, report

Turn = Callable[[], dict[str, float]]


def timed(play: Callable[[], int], seconds: float, name: str = "") -> dict[str, float]:
    """Environment steps per second of the clock and of processors, of calls that return how many they played.

    On a busy machine the second says more.
    """
    steps, start_s, start_cpu_s = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start_s < seconds or not steps:
        steps += play()
    return {
        f"{name}steps_per_s": steps / (time.perf_counter() - start_s),
        f"{name}steps_per_cpu_s": steps / (time.process_time() - start_cpu_s),
    }


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
