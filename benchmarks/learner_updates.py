"""Updates per second of the MIPI learner, compared with a plain implementation of the same mathematics.

    python benchmarks/learner_updates.py [--threads 2] [--repeats 7] [--quick]

Synthetic batches of 32 full episodes of 60 and 100 steps, 8 agents and 8 enemies, networks of the paper (128, 4 heads,
GRU 64, mixer 128/32), M = 4, RMSprop. The two learners take turns, so that other load on the machine affects both
alike; the figures are medians. The plain learner is `tests/references/padded_learner.py`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "references"))

from padded_learner import PaddedMIPI
from worlds import Sizes, drive, random_batch

from mipi_pl import spec as keys
from mipi_pl.algorithms.mipi import MIPI
from mipi_pl.datamodules.trimming import trim
from mipi_pl.models.agent import EntityAgent
from mipi_pl.models.marginal import MarginalPolicy
from mipi_pl.models.mixers import AttentionMixer

AGENTS = ENEMIES = 8
FEATURES, ACTIONS = 36, 14
"""Sizes of a battle at this capacity: about 8 tags, 12 actions, types, health, positions; 6 actions and 8 targets."""


def learner(kind: type[MIPI], sizes: Sizes) -> MIPI:
    """Build a learner with the networks of the paper."""
    torch.manual_seed(0)
    optimizer = partial(torch.optim.RMSprop, lr=5e-4, alpha=0.99, eps=1e-5)
    return kind(
        sizes.spec,
        agent=partial(EntityAgent, width=128, heads=4, hidden=64),
        marginal=partial(MarginalPolicy, width=128, hidden=64),
        mixer=partial(AttentionMixer, width=128, heads=4, mixing=32),
        critic_optimizer=optimizer,
        marginal_optimizer=optimizer,
        policy_optimizer=optimizer,
        iterations=4,
    )


def full_episodes(steps: int, episodes: int) -> Sizes:
    """Returns the sizes of a batch in which every agent lives to the end of every episode."""
    return Sizes(
        lengths=(steps,) * episodes,
        lifetimes=((steps + 1,) * AGENTS,) * episodes,
        absent=((),) * episodes,
        n_agents=AGENTS,
        n_others=ENEMIES,
        n_features=FEATURES,
        n_actions=ACTIONS,
        truncated=(True,) * episodes,
    )


def measure(steps: int, episodes: int, repeats: int) -> tuple[float, float]:
    """Returns the median seconds per update of the real and of the plain learner."""
    sizes = full_episodes(steps, episodes)
    padded = random_batch(sizes, partitions=5, dtype=torch.float32)
    batch = trim(padded, AGENTS).set(keys.GROUPS, padded[keys.GROUPS])
    learners = [learner(kind, sizes) for kind in (MIPI, PaddedMIPI)]
    seconds: list[list[float]] = [[], []]
    for repeat in range(repeats + 1):
        for one, measured in zip(learners, seconds, strict=True):
            start_s = time.perf_counter()
            drive(one, [batch])
            if repeat:  # the first one warms up
                measured.append(time.perf_counter() - start_s)
    real, plain = (statistics.median(measured) for measured in seconds)
    return real, plain


def main() -> None:
    """Print the updates per second and a final line of JSON."""
    parser = argparse.ArgumentParser(description="Updates per second of the MIPI learner.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="processor threads of PyTorch")
    parser.add_argument("--repeats", type=int, default=5, help="timed updates of each learner")
    parser.add_argument("--quick", action="store_true", help="small batches, to check that it runs")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    figures, ratios = {}, []
    for steps in (60, 100):
        played = steps // 20 if arguments.quick else steps
        real, plain = measure(played, 2 if arguments.quick else 32, 1 if arguments.quick else arguments.repeats)
        print(f"{steps} steps: {1 / real:.2f} updates/s, plain {1 / plain:.2f} updates/s, ratio {plain / real:.2f}")
        figures[f"updates_per_s_{steps}"] = round(1 / real, 3)
        ratios.append(plain / real)
    print(json.dumps({**figures, "ratio_to_plain": round(min(ratios), 3)}))


if __name__ == "__main__":
    main()
