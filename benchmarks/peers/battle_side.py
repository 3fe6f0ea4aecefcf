"""Command line and timing that the three sides of the comparison of battles share."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from battle_questions import Simulator, ask
from turns import claim_output, my_turn, report

Turn = Callable[[], dict[str, float]]


def timed(play: Callable[[], int], seconds: float, name: str = "") -> dict[str, float]:
    """Call `play` for some seconds and measure its speed.

    Args:
        play: plays some steps and returns their number.
        seconds: time to measure.
        name: prefix of the results' names.

    Returns:
        Environment steps per second of wall time, and per processor second, which is more reliable on a busy machine.
    """
    steps, start_s, start_cpu_s = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start_s < seconds or not steps:
        steps += play()
    return {
        f"{name}steps_per_s": steps / (time.perf_counter() - start_s),
        f"{name}steps_per_cpu_s": steps / (time.process_time() - start_cpu_s),
    }


def main(simulator: Callable[[], Simulator], speed: Callable[[int, float], Turn]) -> None:
    """Work in turns: `rules` runs all measurements in one turn, `speed` measures for some seconds in each turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("rules", "speed"), help="what to measure")
    parser.add_argument("--episodes", type=int, default=100, help="battles per map (default %(default)s)")
    parser.add_argument("--environments", type=int, default=512, help="environments of `speed` (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a turn of `speed` (default %(default)s)")
    options = parser.parse_args()
    output = claim_output()
    if options.what == "speed":
        turn = speed(options.environments, options.seconds)
        while my_turn():
            report(output, turn())
    elif my_turn():
        report(output, ask(simulator(), options.episodes))
