"""Environment steps per second of a world: bare kernel, through TorchRL, and with the policy network in the loop.

    python benchmarks/env_steps.py [--family sz] [--size 8] [--envs 512] [--seconds 5] [--threads 2] [--clock cpu]
    python benchmarks/env_steps.py --scaling [--family sz] [--seconds 5] [--threads 2] [--clock cpu]

A step of one environment counts one. All figures include features and masks and come from whole episodes of full teams:

* The kernel and the TorchRL environment are played by `attack_nearest` (`expert` in Resource Collection). Only the
  environment's own calls are timed.
* The paper's networks (untrained, 128 wide, GRU 64) act on the same observations. This compares the cost of the network
  with the cost that TorchRL adds to the kernel.
* The collector of training runs as in `mipi train`.

`--scaling` measures the kernel with random legal actions, and its memory, for more environments and for larger teams.
The figures are medians over windows of a few steps, so that a pause of the machine does not affect them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numba
import torch
from tensordict import TensorDict

from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.envs.battle.rules_state import make_pairs
from mipi_pl.envs.frame import Frame
from mipi_pl.evaluation.rollout import Policy
from mipi_pl.run.build import build, environment_factory
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
"""Clocks to measure with: wall time, or processor time of this process, for busy machines."""
WINDOW = 10
"""Steps of every environment in a measured window."""
NETWORKS = "network=refil"
"""The paper's networks and target actions: one action per tag."""
PLAYERS = {"resource_collection": "expert"}
"""Scripted policies of worlds other than battles."""


def rate(play_window: Callable[[], float], frames: int, seconds: float) -> float:
    """Returns the median frames per second over windows; `play_window` plays one and returns its timed seconds."""
    play_window()  # warm up: compile and fill caches
    rates, stop = [], time.perf_counter() + seconds
    while time.perf_counter() < stop or len(rates) < 5:
        rates.append(frames / play_window())
    return statistics.median(rates)


def make(family: str, **arguments: Any) -> EntityEnv:
    """Build a world from its config, with these arguments changed."""
    node = resolve(compose([f"env={family}", NETWORKS]))["env"]
    env: EntityEnv = environment_factory(node)(**arguments)
    return env


def bare_kernel(env: EntityEnv, player: Policy, seconds: float, clock: Clock) -> float:
    """Returns the frames per second of `advance` and `begin` alone."""
    empty = TensorDict({}, [env.num_envs])
    frame = Frame.empty(env.num_envs, env.entity_spec)
    env.begin(torch.ones(env.num_envs, dtype=torch.bool), frame)

    def window() -> float:
        spent = 0.0
        for _ in range(WINDOW):
            action = player(empty)["agents", "action"]
            start = clock()
            env.advance(action, frame)
            done = frame.terminated | frame.truncated
            if done.any():
                env.begin(done, frame)
            spent += clock() - start
        return spent

    return rate(window, WINDOW * env.num_envs, seconds)


def through_torchrl(env: EntityEnv, player: Policy, seconds: float, clock: Clock) -> float:
    """Returns the frames per second of `step_and_maybe_reset` of the TorchRL environment."""
    carrier = env.reset()

    def window() -> float:
        nonlocal carrier
        spent = 0.0
        for _ in range(WINDOW):
            carrier = player(carrier)
            start = clock()
            _, carrier = env.step_and_maybe_reset(carrier)
            spent += clock() - start
        return spent

    return rate(window, WINDOW * env.num_envs, seconds)


def policy_network(family: str, env: EntityEnv, seconds: float, clock: Clock) -> float:
    """Returns the frames per second of the paper's actor alone, on the observations of one step."""
    algorithm = build("algorithm", resolve(compose([f"env={family}", NETWORKS]))["algorithm"], spec=env.entity_spec)
    actor = algorithm.actor(greedy=False, seed=0)
    carrier = actor(env.reset())  # adds the recurrent state

    def window() -> float:
        start = clock()
        with torch.no_grad():
            actor(carrier)
        return clock() - start

    return rate(window, env.num_envs, seconds)


def memory_per_env(env: BattleEnv) -> float:
    """Returns the KiB per environment of a battle's state, working memory and observation."""
    frame = Frame.empty(1, env.entity_spec)
    shown = sum(value.numel() * value.element_size() for value in vars(frame).values())
    held = sum(value.nbytes for value in (env.units, env.battles, make_pairs(env.num_envs, env.entity_spec.n_entities)))
    return (held / env.num_envs + shown) / 1024


def scaling(family: str, seconds: float, clock: Clock) -> dict[str, float]:
    """Measure the kernel by number of environments (8 against 8) and by team size (512 environments).

    Returns:
        Steps per second of each case, and KiB per environment of each team size.
    """
    results = {}
    for envs, size in [(n, 8) for n in (64, 512, 1024, 2048, 4096)] + [(512, n) for n in (4, 16, 32)]:
        env = make(family, num_envs=envs, seed=0, team_sizes=[size], capacity=size)
        assert isinstance(env, BattleEnv)
        steps = bare_kernel(env, env.scripted_policy("random"), seconds, clock)
        kib = memory_per_env(env)
        print(
            f"{envs:>5} environments, {size:>2} against {size:<2} {steps:>10,.0f} steps/s {kib:8.1f} KiB each",
            flush=True,
        )
        results |= {f"envs_{envs}_size_{size}_per_s": steps, f"size_{size}_KiB": kib}
    return results


def collection(family: str, size: int, envs: int, seconds: float, clock: Clock) -> float:
    """Returns the frames per second of collection in training: collector, actor, whole episodes, replay buffer."""
    chosen = [f"env={family}", NETWORKS, f"env.team_sizes=[{size}]"]
    config = resolve(compose([*chosen, f"datamodule.num_envs={envs}", "datamodule.capacity=1024"]))
    data = build("datamodule", config["datamodule"])
    algorithm = build("algorithm", config["algorithm"], spec=data.env.entity_spec)
    data.connect(algorithm.actor(greedy=False, seed=0))

    def window() -> float:
        start = clock()
        data.collect()
        return clock() - start

    return rate(window, envs * data.steps_per_collection, seconds)


def main() -> None:
    """Print the figures and a final line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default="sz", help="marines, sz, csz, mmm, zerg, resource_collection")
    parser.add_argument("--size", type=int, default=8, help="agents per team; in a battle also enemies")
    parser.add_argument("--envs", type=int, default=512, help="environments (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds per measurement (default %(default)s)")
    parser.add_argument("--threads", type=int, default=min(2, numba.config.NUMBA_NUM_THREADS), help="processor threads")
    parser.add_argument("--scaling", action="store_true", help="measure more environments, larger teams and memory")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu counts processor seconds; use --threads 1")
    options = parser.parse_args()
    clock = CLOCKS[options.clock]
    numba.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)

    if options.scaling:
        by_case = scaling(options.family, options.seconds, clock)
        print(json.dumps({name: round(value, 1) for name, value in by_case.items()}))
        return
    env = make(options.family, num_envs=options.envs, seed=0, team_sizes=[options.size])
    player = env.scripted_policy(PLAYERS.get(options.family, "attack_nearest"))
    print(f"{options.family}, teams of {options.size}, {options.envs} environments, {options.threads} threads")
    rates = {"env_steps_per_s": bare_kernel(env, player, options.seconds, clock)}
    print(f"bare kernel:             {rates['env_steps_per_s']:>10,.0f} environment steps/s")
    rates["torchrl_frames_per_s"] = through_torchrl(env, player, options.seconds, clock)
    print(f"TorchRL environment:     {rates['torchrl_frames_per_s']:>10,.0f} frames/s")
    rates["network_frames_per_s"] = policy_network(options.family, env, options.seconds, clock)
    print(f"policy network alone:    {rates['network_frames_per_s']:>10,.0f} frames/s")
    layer_us = 1e6 / rates["torchrl_frames_per_s"] - 1e6 / rates["env_steps_per_s"]
    network_us = 1e6 / rates["network_frames_per_s"]
    print(f"cost per frame:          {layer_us:.2f} us for TorchRL, {network_us:.2f} us for the network")
    rates["collection_frames_per_s"] = collection(options.family, options.size, options.envs, options.seconds, clock)
    print(f"collection with network: {rates['collection_frames_per_s']:>10,.0f} frames/s")
    print(json.dumps({name: round(value) for name, value in rates.items()}))


if __name__ == "__main__":
    main()
