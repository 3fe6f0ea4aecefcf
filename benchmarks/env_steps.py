"""Environment steps per second of a world: bare kernel, through TorchRL, with the policy network in the loop.

    python benchmarks/env_steps.py [--family sz] [--size 8] [--envs 512] [--seconds 5] [--threads 2]

One environment step of one environment counts one. All figures include features and masks. What is played are whole
episodes of full teams, by `attack_nearest` (`expert` in Resource Collection) in the first two measurements; only the
environment's own calls are timed there. The third plays the paper's networks (untrained, 128 wide, GRU 64) inside the
collector that training uses.
The figures are medians over windows of a few steps, so that a pause of the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numba
import torch
from tensordict import TensorDict

from mipi_pl.assembly import build, environment_factory
from mipi_pl.config import resolve
from mipi_pl.envs.base import EntityEnv, Frame
from mipi_pl.evaluation.rollout import Policy
from mipi_pl.launch import compose

WINDOW = 10
"""Steps of all environments in a measured window."""
PLAYERS = {"resource_collection": "expert"}
"""Scripted policies of worlds that are no battles."""


def rate(play_window: Callable[[], float], frames: int, seconds: float) -> float:
    """Median frames per second of windows; `play_window` returns the seconds that count."""
    play_window()  # compiles, fills caches
    rates, stop = [], time.perf_counter() + seconds
    while time.perf_counter() < stop or len(rates) < 5:
        rates.append(frames / play_window())
    return statistics.median(rates)


def bare_kernel(env: EntityEnv, player: Policy, seconds: float) -> float:
    """`advance` and `begin` alone."""
    empty = TensorDict({}, [env.num_envs])
    frame = Frame.empty(env.num_envs, env.entity_spec)
    env.begin(torch.ones(env.num_envs, dtype=torch.bool), frame)

    def window() -> float:
        spent = 0.0
        for _ in range(WINDOW):
            action = player(empty)["agents", "action"]
            start = time.perf_counter()
            env.advance(action, frame)
            done = frame.terminated | frame.truncated
            if done.any():
                env.begin(done, frame)
            spent += time.perf_counter() - start
        return spent

    return rate(window, WINDOW * env.num_envs, seconds)


def through_torchrl(env: EntityEnv, player: Policy, seconds: float) -> float:
    """`step_and_maybe_reset` of the TorchRL environment."""
    carrier = env.reset()

    def window() -> float:
        nonlocal carrier
        spent = 0.0
        for _ in range(WINDOW):
            carrier = player(carrier)
            start = time.perf_counter()
            _, carrier = env.step_and_maybe_reset(carrier)
            spent += time.perf_counter() - start
        return spent

    return rate(window, WINDOW * env.num_envs, seconds)


def collection(family: str, size: int, envs: int, seconds: float) -> float:
    """What the datamodule collects with the networks of the paper: collector, actor, whole episodes, replay buffer."""
    chosen = [f"env={family}", f"env.team_sizes=[{size}]", f"datamodule.num_envs={envs}", "datamodule.capacity=1024"]
    config = resolve(compose(chosen))
    data = build("datamodule", config["datamodule"])
    algorithm = build("algorithm", config["algorithm"], spec=data.env.entity_spec)
    data.connect(algorithm.actor(greedy=False, seed=0))

    def window() -> float:
        start = time.perf_counter()
        data.collect()
        return time.perf_counter() - start

    return rate(window, envs * data.steps_per_collection, seconds)


def main() -> None:
    """Print the three figures; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default="sz", choices=["marines", "sz", "csz", "mmm", "resource_collection"])
    parser.add_argument("--size", type=int, default=8, help="agents in each team, and in a battle as many enemies")
    parser.add_argument("--envs", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=5.0, help="per measurement")
    parser.add_argument("--threads", type=int, default=min(2, numba.config.NUMBA_NUM_THREADS))
    options = parser.parse_args()
    numba.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)

    node = resolve(compose([f"env={options.family}"]))["env"]
    env = environment_factory(node)(num_envs=options.envs, seed=0, team_sizes=[options.size])
    player = env.scripted_policy(PLAYERS.get(options.family, "attack_nearest"))
    print(f"{options.family}, teams of {options.size}, {options.envs} environments, {options.threads} threads")
    found = {"env_steps_per_s": bare_kernel(env, player, options.seconds)}
    print(f"bare kernel:             {found['env_steps_per_s']:>10,.0f} environment steps/s")
    found["torchrl_frames_per_s"] = through_torchrl(env, player, options.seconds)
    print(f"TorchRL environment:     {found['torchrl_frames_per_s']:>10,.0f} frames/s")
    found["collection_frames_per_s"] = collection(options.family, options.size, options.envs, options.seconds)
    print(f"collection with network: {found['collection_frames_per_s']:>10,.0f} frames/s")
    print(json.dumps({name: round(value) for name, value in found.items()}))


if __name__ == "__main__":
    main()
