"""Parity test: plays the same battles in the simulator and through StarCraft II's protocol, and compares every bit.

    python benchmarks/starcraft2_parity.py --battles 100

pysc2 starts the stand-in for the game that the tests use.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "references")]

import stand_in_game  # noqa: E402

from mipi_pl.envs.battle.env import BattleEnv  # noqa: E402
from mipi_pl.envs.starcraft2 import pool  # noqa: E402
from mipi_pl.envs.starcraft2.env import StarCraft2Env  # noqa: E402
from mipi_pl.run.compose import compose  # noqa: E402
from mipi_pl.run.config import resolve  # noqa: E402

FAMILIES = ("sz", "csz", "mmm")


def compare(family: str, battles: int, envs: int, seed: int, folder: Path) -> tuple[int, int, int]:
    """Returns the numbers of battles, steps and tensors compared; exits with a message at the first difference."""
    node = resolve(compose([f"env={family}"]))["env"]
    scenario = {name: node[name] for name in ("groups", "capacity")} | {"team_sizes": [3, 4, 5, 6, 7, 8]}
    os.environ["SC2PATH"] = str(stand_in_game.install(folder / "game"))
    os.environ["STAND_IN"] = str(stand_in_game.write_setting(folder / f"{family}.json", scenario))
    game = StarCraft2Env(num_envs=envs, seed=seed, start_timeout_s=600, **scenario)
    simulator = BattleEnv(num_envs=envs, seed=seed, **scenario)
    players = [simulator.scripted_policy(name, seed) for name in simulator.scripted]
    of_game, of_simulator = game.reset(), simulator.reset()
    ended = steps = tensors = 0
    while ended < battles:
        action = players[steps % len(players)](of_simulator.select(("agents", "action_mask")))["agents", "action"]
        of_game["agents", "action"], of_simulator["agents", "action"] = action, action.clone()
        played, of_game = game.step_and_maybe_reset(of_game)
        expected, of_simulator = simulator.step_and_maybe_reset(of_simulator)
        for ours, theirs in ((played["next"], expected["next"]), (of_game, of_simulator)):
            for name in theirs.keys(True, True):
                if not torch.equal(ours[name], theirs[name]):
                    sys.exit(f"{family}: {name} of game and simulator differ in step {steps}")
                tensors += 1
        ended, steps = ended + int(expected["next", "done"].sum()), steps + 1
    if game.faults:
        sys.exit(f"{family}: expected no failed game, got {game.faults}")
    game.close()
    pool.close_idle()  # the stand-in of the next family needs other units
    return ended, steps * envs, tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--battles", type=int, default=100, help="battles per family (default %(default)s)")
    parser.add_argument("--envs", type=int, default=4, help="game processes (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the battles (default %(default)s)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for family in FAMILIES:
            battles, steps, tensors = compare(family, chosen.battles, chosen.envs, chosen.seed, Path(folder))
            print(f"{family}: {battles} battles, {steps} steps, {tensors} tensors, no difference", flush=True)


if __name__ == "__main__":
    main()
