"""What the policy pays for: the divergence of MIPI-PPO from its marginal by kind of choice and team size.

    python benchmarks/price_parts.py outputs/reproduce/cpu [--sizes 3 5 8] [--frames 16384] [--table parts.csv]

Plays the last policy of each run that `price.py` would list, in a battle, sampling actions, and splits the KL
divergence of policy and marginal per decision by the chain rule:

* what: whether to stay, move or attack,
* where: the direction of a move,
* whom: the target of an attack.

The three add up to the whole. Team sizes beyond those of training show what the price would be for teams that the
marginal policy has not learned from either.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
from of_runs import read_or_exit
from price import chosen_runs, price_of
from torch import Tensor

from mipi_pl.algorithms.batch import EpisodeBatch
from mipi_pl.reporting.runs import Run
from mipi_pl.run.build import build
from mipi_pl.run.loaded_run import open_checkpoint

PARTS = ("what", "where", "whom")
_STAY, _MOVE, _ATTACK = range(3)


def types_of(names: Sequence[str], n_kinds: int) -> Tensor:
    """Returns the type of each of K action kinds, the fixed actions first; the kinds after those attack or heal."""
    fixed = [_STAY if name in ("no_op", "stop") else _MOVE for name in names]
    return torch.tensor([*fixed, *[_ATTACK] * (n_kinds - len(fixed))])


def divergences(log_pi: Tensor, log_marginal: Tensor, types: Tensor) -> Tensor:
    """Split a divergence by the chain rule.

    Args:
        log_pi: [n, U], log-probabilities of the policy.
        log_marginal: [n, U], log-probabilities of the marginal policy.
        types: [U], type of each action: 0 stay, 1 move, 2 attack.

    Returns:
        [n, 3], divergence of the types, of the moves, and of the targets; the sum is the whole divergence.
    """
    pi, by_action = log_pi.exp(), log_pi.exp() * (log_pi - log_marginal)
    groups = torch.nn.functional.one_hot(types, 3).to(pi.dtype)
    ours, theirs = pi @ groups, log_marginal.exp() @ groups
    of_types = ours * (ours.clamp_min(1e-30).log() - theirs.clamp_min(1e-30).log())
    within = by_action @ groups - of_types  # p_k KL(pi(.|k) || marginal(.|k)) for each type k
    return torch.stack((of_types.sum(1) + within[:, _STAY], within[:, _MOVE], within[:, _ATTACK]), dim=1)


@torch.no_grad()
def parts(run: Run, size: int, frames: int) -> Tensor:
    """Returns the mean divergence per decision by part [3], in teams of one size, in nats."""
    algorithm = open_checkpoint(run.folder / "checkpoints" / "last.ckpt", ["threads=1"]).algorithm
    config = deepcopy(dict(run.config["datamodule"]))
    config["make_env"].update(team_sizes=[size], capacity=max(size, config["make_env"]["capacity"]))
    data = build("datamodule", config)
    algorithm.eval()
    data.connect(algorithm.actor(greedy=False, seed=0))
    memory, found = type(algorithm._memory)(data.env.entity_spec.n_agents), []
    while data.frames < frames:
        batch = data.next_batch()
        b = EpisodeBatch.from_tensordict(batch, data.env.entity_spec, algorithm.truncation_is_terminal)
        states = memory.before(batch)
        log_pi, last = algorithm._log_policy(b, b.visible, states)
        log_marginal, last_marginal = algorithm._marginal_from(b, b.decisions, states.get("marginal"))
        memory.keep(batch, {"policy": last, "marginal": last_marginal})
        kinds = algorithm.agent.kinds
        of_kind = types_of(data.env.entity_spec.action_names[: kinds.n_fixed], kinds.n_kinds)
        types = of_kind[kinds.of_actions(b.action.shape[1], b.visible.shape[2])[:-1]]
        found.append(divergences(log_pi[b.deciding], log_marginal[b.deciding], types))
    data.teardown("fit")
    return torch.cat(found).mean(0)


def main() -> None:
    """Print a table per environment, and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="run folders, or folders that contain them")
    parser.add_argument("--sizes", type=int, nargs="+", default=[3, 5, 8], help="team sizes (default: 3 5 8)")
    parser.add_argument("--frames", type=int, default=16_384, help="steps to play for each run and size")
    parser.add_argument("--table", type=Path, help="write a row per run and size to this CSV")
    chosen = parser.parse_args()
    runs = read_or_exit(parser, chosen_runs, chosen.folders)
    head = ["environment", "price", "seed", "team", *(f"{part}_nats" for part in PARTS), "all_nats"]
    print(f"| {' | '.join(head)} |\n" + "|---" * len(head) + "|")
    rows = []
    for run in runs:
        for size in chosen.sizes:
            split = parts(run, size, chosen.frames).tolist()
            numbers = [f"{nats:.3f}" for nats in (*split, math.fsum(split))]
            rows.append([run.environment, str(price_of(run)), str(run.seed), str(size), *numbers])
            print(f"| {' | '.join(rows[-1])} |", flush=True)
    if chosen.table:
        with chosen.table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head, *rows])


if __name__ == "__main__":
    main()
