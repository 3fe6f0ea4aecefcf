"""Fairness of the battle, and the win rates of scripted policies.

    python benchmarks/battle_fairness.py [--episodes 4000] [--table-episodes 1000]

1. The built-in script commands both armies. Measured is the share of decided battles that the agents' side wins, for
   each family at sizes 3-8. Draws (the last fighters of both sides die in the same game loop) and battles that reach
   the time limit are not decided.
2. The scripted policies play through the agents' actions. Measured are win rate and mean length for each family and
   team size, and for marines against one enemy fewer.

Writes benchmarks/results/battle_fairness.json. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict

from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.envs.battle.rules_state import DRAWN, LOST, TIME_UP, WON
from mipi_pl.envs.battle.scripted import POLICIES, make_scripted
from mipi_pl.evaluation.rollout import play
from mipi_pl.run.build import environment_factory
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve

FAMILIES = ("marines", "sz", "csz", "mmm")
SIZES = (3, 4, 5, 6, 7, 8)
RESULT = Path(__file__).parent / "results" / "battle_fairness.json"


def make(family: str, num_envs: int, **changed: Any) -> BattleEnv:
    """Build the environment of a family from its config, with some arguments changed."""
    env = environment_factory(resolve(compose([f"env={family}"]))["env"])(num_envs=num_envs, **changed)
    assert isinstance(env, BattleEnv)
    return env


def script_against_script(family: str, episodes: int) -> dict[str, float]:
    """Play one episode in each of `episodes` battles with the script on both sides, and count the outcomes."""
    env = make(family, episodes, seed=1, team_sizes=SIZES, both_scripted=True)
    env.reset()
    ignored = torch.zeros(episodes, env.entity_spec.n_agents, dtype=torch.int64)
    for _ in range(env.scenario.episode_limit):
        env.step(TensorDict({("agents", "action"): ignored}, [episodes]))
    ended = env.battles["ended"]
    won, lost = int((ended == WON).sum()), int((ended == LOST).sum())
    return {
        "agents_share_of_decided": won / (won + lost),
        "standard_error": 0.5 / (won + lost) ** 0.5,
        "decided": won + lost,
        "drawn": int((ended == DRAWN).sum()),
        "time_up": int((ended == TIME_UP).sum()),
        "episodes": episodes,
        "mean_length": float(np.mean(env.battles["steps"])),
    }


def scripted_players(family: str, size: int, delta: int, episodes: int) -> dict[str, dict[str, float]]:
    """Returns win rate, mean return and mean length of each scripted policy."""
    scores = {}
    for name in POLICIES:
        env = make(family, episodes, seed=2, team_sizes=[size], enemy_delta=delta)
        result = play(env, make_scripted(name, env, seed=3))
        scores[name] = {
            "win_rate": result.won.float().mean().item(),
            "return": result.return_.mean().item(),
            "length": result.length.float().mean().item(),
        }
    return scores


def main() -> None:
    """Print both tables and a final line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=4000, help="battles per family, script against script")
    parser.add_argument("--table-episodes", type=int, default=1000, help="battles per policy, family and size")
    options = parser.parse_args()
    start = time.perf_counter()

    fairness = {}
    print("script against script, sizes 3-8: share of decided battles won by the agents' side")
    for family in FAMILIES:
        row = fairness[family] = script_against_script(family, options.episodes)
        print(
            f"  {family:8} {row['agents_share_of_decided']:.3f} +- {row['standard_error']:.3f}   "
            f"decided {row['decided']}, drawn {row['drawn']}, time up {row['time_up']}, "
            f"mean length {row['mean_length']:.1f}",
            flush=True,
        )
    players: dict[str, dict[int, Any]] = {}
    print(f"\nscripted policies: win rate (mean length in steps), {options.table_episodes} episodes each")
    print(f"  {'family':12} {'size':>4} " + " ".join(f"{name:>16}" for name in POLICIES))
    for family, delta in [(family, 0) for family in FAMILIES] + [("marines", -1)]:
        name = family if delta == 0 else f"{family} {delta:+d}"
        players[name] = {}
        for size in SIZES:
            row = players[name][size] = scripted_players(family, size, delta, options.table_episodes)
            cells = " ".join(f"{row[p]['win_rate']:>9.3f} ({row[p]['length']:4.0f})" for p in POLICIES)
            print(f"  {name:12} {size:>4} {cells}", flush=True)
    results = {"script_against_script": fairness, "scripted_players": players, "seconds": time.perf_counter() - start}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {RESULT.relative_to(Path.cwd()) if RESULT.is_relative_to(Path.cwd()) else RESULT}")
    print(json.dumps({family: round(row["agents_share_of_decided"], 4) for family, row in fairness.items()}))


if __name__ == "__main__":
    main()
