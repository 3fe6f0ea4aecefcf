"""REFIL's side of the comparison: its own code, from a checkout outside this repository.

    python benchmarks/peers/refil.py update --repo PATH --batch FILE
    python benchmarks/peers/refil.py loop --repo PATH --smaclite PATH

FILE is a file written by `batches.py`. This script patches what the checkout needs to run with current PyTorch versions
at run time and does not change its files. The settings are those of its `default.yaml`, `envs/sc2custom.yaml` and
`algs/refil.yaml`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import types
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import yaml
from turns import Report, claim_output, my_turn, processor_seconds, report

Sizes = Mapping[str, int]
"""Sizes of a world, under REFIL's names."""
SMACLITE: Sizes = {"n_agents": 8, "n_entities": 16, "n_actions": 14, "entity_shape": 36}
EPISODES, ENVIRONMENTS, EPISODE_LIMIT = 32, 8, 150
CAPACITY = 256
"""Episodes of the replay; its size does not affect the speed."""


def make_importable(repo: Path, environments: dict[str, Any]) -> None:
    """Make the modules of the checkout importable, and patch them for current PyTorch versions.

    `environments` replaces REFIL's own environments, which need StarCraft. Byte masks become booleans, because
    `masked_fill` no longer accepts bytes. Slices become tuples, because PyTorch no longer reads a list as one index.

    Raises:
        SystemExit: if `repo` is not a checkout of REFIL.
    """
    source = repo / "src"
    if not (source / "learners").is_dir():
        raise SystemExit(
            f"--repo must be a checkout of REFIL, got {repo} without the folder {source / 'learners'}: "
            "see benchmarks/peer_refil.py for the command that clones it"
        )
    sys.path.insert(0, str(source))
    sys.dont_write_bytecode = True
    registry: Any = types.ModuleType("envs")
    registry.REGISTRY, registry.s_REGISTRY = environments, {}
    sys.modules["envs"] = registry

    fill = torch.Tensor.masked_fill

    def with_bytes(tensor: torch.Tensor, mask: torch.Tensor, value: float) -> torch.Tensor:
        return fill(tensor, mask.bool() if mask.dtype == torch.uint8 else mask, value)

    torch.Tensor.masked_fill = with_bytes  # type: ignore[method-assign, assignment]

    from components.episode_buffer import EpisodeBatch  # type: ignore[import-not-found]

    parse = EpisodeBatch._parse_slices
    EpisodeBatch._parse_slices = lambda batch, items: tuple(parse(batch, items))
    # REFIL's way of copying tensors and joining arrays triggers thousands of these warnings.
    warnings.filterwarnings("ignore", category=UserWarning)


def settings(repo: Path, sizes: Sizes) -> SimpleNamespace:
    """Merge REFIL's three files of settings, of which later ones win, and add what REFIL reads from its environment."""
    merged: dict[str, Any] = {}
    for name in ("default.yaml", "envs/sc2custom.yaml", "algs/refil.yaml"):
        merged |= yaml.safe_load((repo / "src" / "config" / name).read_text())
    merged |= {
        "use_cuda": False,
        "device": "cpu",
        "entity_scheme": True,
        "gt_mask_avail": False,
        **sizes,
        "batch_size_run": ENVIRONMENTS,
        "env": "smaclite",
        "env_args": {},
    }
    return SimpleNamespace(**merged)


class Peer:
    """REFIL's controller, learner and replay.

    Args:
        args: see `settings`.
        max_steps: length of the longest episode.
    """

    def __init__(self, args: SimpleNamespace, max_steps: int) -> None:
        from components.episode_buffer import ReplayBuffer
        from components.transforms import OneHot  # type: ignore[import-not-found]
        from controllers import REGISTRY as CONTROLLERS  # type: ignore[import-not-found]
        from learners import REGISTRY as LEARNERS  # type: ignore[import-not-found]
        from utils.logging import Logger  # type: ignore[import-not-found]

        per_entity, per_agent = {"group": "entities"}, {"group": "agents"}
        entities, actions = args.n_entities, args.n_actions
        self.scheme = {
            "entities": {"vshape": args.entity_shape, **per_entity},
            "obs_mask": {"vshape": entities, "dtype": torch.uint8, **per_entity},
            "entity_mask": {"vshape": entities, "dtype": torch.uint8},
            "actions": {"vshape": (1,), "dtype": torch.long, **per_agent},
            "avail_actions": {"vshape": (actions,), "dtype": torch.int, **per_agent},
            "reward": {"vshape": (1,)},
            "terminated": {"vshape": (1,), "dtype": torch.uint8},
        }
        self.groups = {"agents": args.n_agents, "entities": entities}
        self.preprocess = {"actions": ("actions_onehot", [OneHot(out_dim=actions)])}
        self.logger = Logger(logging.getLogger("refil"))
        self.buffer = ReplayBuffer(self.scheme, self.groups, CAPACITY, max_steps + 1, preprocess=self.preprocess)
        self.controller = CONTROLLERS[args.mac](self.buffer.scheme, self.groups, args)
        self.learner = LEARNERS[args.learner](self.controller, self.scheme, self.logger, args)


def sizes_of(episodes: Mapping[str, Any]) -> Sizes:
    """Returns the sizes of the world that a batch comes from."""
    _, _, n_entities, features = episodes["entities"].shape
    *_, n_agents, n_actions = episodes["agents"]["action_mask"].shape
    return {"n_agents": n_agents, "n_entities": n_entities, "n_actions": n_actions, "entity_shape": features}


def fields(episodes: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Convert episodes of our replay to the fields of REFIL's, [N, T+1, ...].

    REFIL's masks are 1 where an entity is hidden or absent; ours are True where it is visible or present. The time
    limit ends an episode like any other end (REFIL's `continuing_episode: false`, also our default). Steps after the
    last observation are zeros.
    """
    agents, played = episodes["agents"], episodes["valid"]
    observed = played.clone()
    observed[:, 1:] |= played[:, :-1]
    hidden = torch.ones(*episodes["present"].shape, episodes["present"].shape[-1], dtype=torch.bool)
    hidden[:, :, : agents["visible"].shape[2]] = ~agents["visible"]
    converted = {
        "entities": episodes["entities"],
        "obs_mask": hidden.byte(),
        "entity_mask": (~episodes["present"]).byte(),
        "avail_actions": agents["action_mask"].int(),
        "actions": agents["action"].unsqueeze(-1),
        "reward": episodes["reward"].unsqueeze(-1),
        "terminated": (episodes["terminated"] | episodes["truncated"]).unsqueeze(-1).byte(),
        "filled": observed.unsqueeze(-1).long(),
    }
    return {name: value * observed.view(*observed.shape, *[1] * (value.dim() - 2)) for name, value in converted.items()}


def updates(repo: Path, path: Path) -> Callable[[], Report]:
    """Returns a turn that makes one update on the batch of the file, cut to its longest episode.

    Its report has the losses of the first update.
    """
    make_importable(repo, {})
    from components.episode_buffer import EpisodeBatch

    torch.manual_seed(0)
    episodes = torch.load(path, weights_only=True)
    count, rows = episodes["valid"].shape
    peer = Peer(settings(repo, sizes_of(episodes)), rows - 1)
    batch = EpisodeBatch(peer.scheme.copy(), peer.groups, count, rows, preprocess=peer.preprocess)
    batch.update(fields(episodes), mark_filled=False)
    batch = batch[:, : batch.max_t_filled()]

    def turn() -> Report:
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        peer.learner.train(batch, 0, 0)
        spent = {"seconds": time.perf_counter() - start_s, "cpu_seconds": time.process_time() - start_cpu_s}
        logged = peer.logger.stats
        return {**spent, "loss": logged["loss"][0][1], "loss_imagined": logged["im_loss"][0][1]}

    return turn


def loop(repo: Path, smaclite: Path) -> Callable[[], Report]:
    """Returns a turn that runs REFIL's runner once (an episode in each of 8 environments) and makes 8 updates.

    The first turn collects until a batch can be drawn.
    """
    sys.path.insert(0, str(smaclite))
    from smaclite_entities import SMACliteEntities

    def environment(env_args: dict[str, Any], args: SimpleNamespace) -> SMACliteEntities:
        del env_args, args
        return SMACliteEntities(SMACLITE["entity_shape"], EPISODE_LIMIT)

    make_importable(repo, {"smaclite": environment})
    from runners.parallel_runner import ParallelRunner  # type: ignore[import-not-found]

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  # REFIL draws its batches with it
    args = settings(repo, SMACLITE)
    runner = ParallelRunner(args, None)
    peer = Peer(args, EPISODE_LIMIT)
    runner.logger = peer.logger
    runner.setup(peer.scheme, peer.groups, peer.preprocess, peer.controller)
    episodes = 0

    def turn() -> Report:
        nonlocal episodes
        start_s, start_cpu_s = time.perf_counter(), processor_seconds()
        first_frame, first_episode = runner.t_env, episodes
        while first_episode == episodes or not peer.buffer.can_sample(EPISODES):
            peer.buffer.insert_episode_batch(runner.run())
            episodes += ENVIRONMENTS
        collected_s = time.perf_counter()
        lengths = []
        for _ in range(ENVIRONMENTS):
            batch = peer.buffer.sample(EPISODES)
            lengths.append(float(batch["filled"].sum()) / EPISODES - 1)  # the last observation is not a step
            peer.learner.train(batch[:, : batch.max_t_filled()], runner.t_env, episodes)
        end_s = time.perf_counter()
        return {
            "seconds": end_s - start_s,
            "cpu_seconds": processor_seconds() - start_cpu_s,
            "seconds_collecting": collected_s - start_s,
            "frames": runner.t_env - first_frame,
            "episodes": episodes - first_episode,
            "updates": ENVIRONMENTS,
            "length": float(np.mean(lengths)),
        }

    return turn


def main() -> None:
    """Work in turns until they end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("update", "loop"), help="what to measure")
    parser.add_argument("--repo", type=Path, required=True, help="a checkout of REFIL")
    parser.add_argument("--smaclite", type=Path, help="a checkout of SMAClite, for `loop`")
    parser.add_argument("--batch", type=Path, help="a file of batches.py, for `update`")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="PyTorch threads")
    options = parser.parse_args()
    output = claim_output()
    torch.set_num_threads(options.threads)
    turn = updates(options.repo, options.batch) if options.what == "update" else loop(options.repo, options.smaclite)
    while my_turn():
        report(output, turn())


if __name__ == "__main__":
    main()
