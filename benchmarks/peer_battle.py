r"""Comparison of the battle with SMAClite and SMAX: rules and speed.

    git clone https://github.com/uoe-agents/smaclite PATH && git -C PATH checkout 0d6abbea
    python -m venv LITE && LITE/bin/pip install numpy gymnasium scikit-learn rtree
    python -m venv SMAX && SMAX/bin/pip install jaxmarl==0.1.0
    python benchmarks/peer_battle.py rules \
        --smaclite PATH --smaclite-python LITE/bin/python --smax-python SMAX/bin/python
    python benchmarks/peer_battle.py speed (the same) [--threads 2] [--seconds 5] [--repeats 3]

`rules` runs the same measurements on each simulator (`peers/battle_questions.py`), prints tables and writes
benchmarks/results/peer_battle.json. `speed` plays 3s5z (8 against 8) with random legal actions. The time includes the
choice of actions, features and masks. Ours and SMAX run 512 environments, SMAClite supports only one at a time. The
sides are processes that take turns. Figures are medians, per second of wall time and per processor second; on a busy
machine, trust the latter. This repository contains no code of the peers; our side is this checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

from peers.battle_questions import KINDS, MAPS
from peers.turns import Side, take_turns

from mipi_pl.storage import provenance
from mipi_pl.utils.cores import usable_cores

RESULT = Path(__file__).parent / "results" / "peer_battle.json"
SIDES = {"ours": "ours", "smaclite": "SMAClite", "smax": "SMAX"}
RETARGET = {
    "acquired_within": "an enemy turns to a unit behind it, at most this far",
    "to_the_nearer_when_standing": (
        "share of its damage for one that comes nearer than its target, which stands still"
    ),
    "to_the_nearer_when_shooting_back": "the same when its target shoots back",
}


def sides(options: argparse.Namespace) -> list[Side]:
    """Start the processes of the three simulators."""
    root = Path(__file__).resolve().parents[1]
    arguments = [options.what, "--episodes", options.episodes, "--seconds", options.seconds]
    slow = [options.what, "--episodes", options.smaclite_episodes, "--seconds", options.seconds]
    return [
        Side("ours", "battle_ours.py", arguments, [root]),
        Side("smaclite", "battle_smaclite.py", slow, [options.smaclite], options.smaclite_python),
        Side("smax", "battle_smax.py", arguments, [], options.smax_python),
    ]


def rules(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the rules of each side, one side after the other, and write the results to `RESULT`."""
    results: dict[str, Any] = {
        "commit": provenance.commit(),
        "battles_on_each_map": dict.fromkeys(SIDES, options.episodes) | {"smaclite": options.smaclite_episodes},
    }
    for side in sides(options):
        results[side.name] = side.turn()
        side.end()
    RESULT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results


def shown(value: float | None) -> str:
    """Format a number of a table; a dash for None."""
    return "-" if value is None else f"{value:.2f}"


def row(title: str, values: list[float | None]) -> str:
    """Returns a row of a Markdown table."""
    return f"| {title} | " + " | ".join(map(shown, values)) + " |"


def tables(results: dict[str, Any]) -> str:
    """Format the results of `rules` as the Markdown tables of docs/battle.md."""
    answers = [results[side] for side in SIDES]

    def head(first: str) -> list[str]:
        return [f"| {first} | " + " | ".join(SIDES.values()) + " |", "|---|" + "---|" * len(SIDES)]

    lines = head("walking per s")
    lines += [row(kind, [one["walk_per_s"].get(kind) for one in answers]) for kind in KINDS]
    lines += ["", "| | " + " | ".join(KINDS) + " |", "|---|" + "---|" * len(KINDS)]
    for attacker in KINDS:
        if attacker != "medivac":
            times = [[one["kill_s"].get(attacker, {}).get(victim) for one in answers] for victim in KINDS]
            lines.append(f"| {attacker} | " + " | ".join(" / ".join(map(shown, each)) for each in times) + " |")
    lines += ["", *head("question")]
    lines.append(row("Medivac heals per s", [one["heal_per_s"] for one in answers]))
    for key, title in (("delay_s", "shields return after, s"), ("per_s", "shields return per s")):
        lines.append(row(title, [(one["shield_per_s"] or {}).get(key) for one in answers]))
    for kind in ("colossus", "baneling"):
        for place in results["ours"]["splash"][kind]:
            where = "that is its target" if place.startswith("0 ") else place
            title = f"{kind.capitalize()}'s blow on a Marauder {where}"
            lines.append(row(title, [one["splash"].get(kind, {}).get(place) for one in answers]))
    lines += [row(title, [one["retarget"][key] for one in answers]) for key, title in RETARGET.items()]
    lines += ["", *head("map")]
    for name in MAPS:
        played = [one["maps"].get(name) for one in answers]
        cells = ["-" if one is None else f"{one['win_rate']:.2f} ({one['length']:.0f})" for one in played]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def speed(options: argparse.Namespace) -> dict[str, float]:
    """Returns environment steps per second, as medians over the turns, and the ratios of ours to the peers'."""
    taken = take_turns(sides(options), options.repeats)
    figures: dict[str, float] = {}
    for unit in ("steps_per_s", "steps_per_cpu_s"):
        rates = {name: statistics.median(turn[unit] for turn in turns) for name, turns in taken.items()}
        rates["ours_torchrl"] = statistics.median(turn[f"torchrl_{unit}"] for turn in taken["ours"])
        figures |= {f"{name}_{unit}": round(rate, 1) for name, rate in rates.items()}
        for peer in ("smaclite", "smax"):
            for name in ("ours", "ours_torchrl"):
                figures[f"{name}_over_{peer}_{unit}"] = round(rates[name] / rates[peer], 1)
    for name, turns in taken.items():
        each = [turn["steps_per_cpu_s"] for turn in turns]
        figures[f"{name}_spread_per_cpu_s"] = round(max(each) / min(each), 2)
    return figures


def main() -> None:
    """Print the results and a final line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rules", "speed"), help="what to compare")
    parser.add_argument("--smaclite", type=Path, required=True, help="a checkout of SMAClite")
    parser.add_argument("--smaclite-python", required=True, help="a Python with the requirements of SMAClite")
    parser.add_argument("--smax-python", required=True, help="a Python with jaxmarl")
    parser.add_argument("--episodes", type=int, default=200, help="battles per map, for the win rates")
    parser.add_argument("--smaclite-episodes", type=int, default=20, help="the same for SMAClite, which is slow")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a turn of `speed`")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="processor threads of each side")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):  # the libraries of the sides read them on import
        os.environ[name] = str(options.threads)
    if options.what == "rules":
        results = rules(options)
        print(tables(results))
        print(json.dumps({name: results[name]["maps"] for name in SIDES}))
    else:
        print(json.dumps(speed(options)))


if __name__ == "__main__":
    main()
