r"""The battle beside SMAClite and SMAX: their rules, and their speed.

    git clone https://github.com/uoe-agents/smaclite PATH && git -C PATH checkout 0d6abbea
    python -m venv LITE && LITE/bin/pip install numpy gymnasium scikit-learn rtree
    python -m venv SMAX && SMAX/bin/pip install jaxmarl==0.1.0
    python benchmarks/peer_battle.py rules \
        --smaclite PATH --smaclite-python LITE/bin/python --smax-python SMAX/bin/python
    python benchmarks/peer_battle.py speed (the same) [--threads 2] [--seconds 5] [--repeats 3]

`rules` asks each the same questions (`peers/battle_questions.py`), prints tables and writes
benchmarks/results/peer_battle.json. `speed` plays 3s5z (8 against 8) with random legal actions, which are chosen on the
clock; features and masks are made by all; 512 environments, but SMAClite has one at a time. The sides are processes
that take turns; figures are medians, by the clock and by processor seconds (on a busy machine, trust the latter). No
code of the peers is in this repository; our side is this checkout.
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

RESULT = Path(__file__).parent / "results" / "peer_battle.json"
SIDES = ("ours", "smaclite", "smax")


def sides(options: argparse.Namespace) -> list[Side]:
    """The three processes."""
    root = Path(__file__).resolve().parents[1]
    arguments = [options.what, "--episodes", options.episodes, "--seconds", options.seconds]
    slow = [options.what, "--episodes", options.smaclite_episodes, "--seconds", options.seconds]
    return [
        Side("ours", "battle_ours.py", arguments, [root]),
        Side("smaclite", "battle_smaclite.py", slow, [options.smaclite], options.smaclite_python),
        Side("smax", "battle_smax.py", arguments, [], options.smax_python),
    ]


def rules(options: argparse.Namespace) -> dict[str, Any]:
    """All answers, by side, one side after the other."""
    found: dict[str, Any] = {}
    for side in sides(options):
        found[side.name] = side.turn()
        side.end()
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def shown(value: float | None) -> str:
    """A number of a table."""
    return "-" if value is None else f"{value:.2f}"


def row(title: str, values: list[float | None]) -> str:
    """A line of a table."""
    return f"| {title} | " + " | ".join(map(shown, values)) + " |"


def tables(found: dict[str, Any]) -> str:
    """The answers as they stand in docs/battle.md."""
    head = "| | " + " | ".join(SIDES) + " |\n|---|" + "---|" * len(SIDES)
    lines = ["walking speed per second, then per step of 8 loops", head]
    for per, factor in (("s", dict.fromkeys(SIDES, 1.0)), ("step", {s: 8 / found[s]["loops_per_s"] for s in SIDES})):
        for kind in KINDS:
            speeds = [found[s]["walk_per_s"].get(kind) for s in SIDES]
            per_unit = [None if v is None else v * factor[s] for s, v in zip(SIDES, speeds, strict=True)]
            lines.append(row(f"{kind}, per {per}", per_unit))
    lines += ["", "seconds from the first blow to death: " + " / ".join(SIDES)]
    lines += ["| | " + " | ".join(KINDS) + " |", "|---|" + "---|" * len(KINDS)]
    for attacker in KINDS:
        if attacker != "medivac":
            cells = [
                " / ".join(shown(found[s]["kill_s"].get(attacker, {}).get(victim)) for s in SIDES) for victim in KINDS
            ]
            lines.append(f"| {attacker} | " + " | ".join(cells) + " |")
    lines += ["", "healing, shields, splash, targets", head]
    lines.append(row("healing per s", [found[s]["heal_per_s"] for s in SIDES]))
    for key in ("delay_s", "per_s"):
        lines.append(row(f"shield {key}", [(found[s]["shield_per_s"] or {}).get(key) for s in SIDES]))
    for kind in ("colossus", "baneling"):
        for place in found["ours"]["splash"][kind]:
            lines.append(row(f"{kind}, {place}", [found[s]["splash"].get(kind, {}).get(place) for s in SIDES]))
    lines += [row(key, [found[s]["retarget"][key] for s in SIDES]) for key in found["ours"]["retarget"]]
    lines += ["", "attack_nearest: win rate (steps)", head]
    for name in MAPS:
        played = [found[s]["maps"].get(name) for s in SIDES]
        cells = ["-" if one is None else f"{one['win_rate']:.2f} ({one['length']:.0f})" for one in played]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def speed(options: argparse.Namespace) -> dict[str, float]:
    """Environment steps per second, medians over the turns, and ours over theirs."""
    taken = take_turns(sides(options), options.repeats)
    found: dict[str, float] = {}
    for unit in ("steps_per_s", "steps_per_cpu_s"):
        rates = {name: statistics.median(turn[unit] for turn in turns) for name, turns in taken.items()}
        rates["ours_torchrl"] = statistics.median(turn[f"torchrl_{unit}"] for turn in taken["ours"])
        found |= {f"{name}_{unit}": round(rate, 1) for name, rate in rates.items()}
        for peer in ("smaclite", "smax"):
            for name in ("ours", "ours_torchrl"):
                found[f"{name}_over_{peer}_{unit}"] = round(rates[name] / rates[peer], 1)
    for name, turns in taken.items():
        each = [turn["steps_per_cpu_s"] for turn in turns]
        found[f"{name}_spread_per_cpu_s"] = round(max(each) / min(each), 2)
    return found


def main() -> None:
    """Print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rules", "speed"))
    parser.add_argument("--smaclite", type=Path, required=True, help="a checkout of SMAClite")
    parser.add_argument("--smaclite-python", required=True, help="a Python that has what it needs")
    parser.add_argument("--smax-python", required=True, help="a Python that has jaxmarl")
    parser.add_argument("--episodes", type=int, default=200, help="battles on each map, for the win rates")
    parser.add_argument("--smaclite-episodes", type=int, default=20, help="the same of SMAClite, which is slow")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each side")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):  # read by what the sides import
        os.environ[name] = str(options.threads)
    if options.what == "rules":
        found = rules(options)
        print(tables(found))
        print(json.dumps({name: one["maps"] for name, one in found.items()}))
    else:
        print(json.dumps(speed(options)))


if __name__ == "__main__":
    main()
