"""Script that writes the results of two connected processes for a test to check: python rank_scenes.py FOLDER."""

from __future__ import annotations

import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from ppo_worlds import LEARNED, rollouts_of, small_mappo
from script_data import data
from script_world import RaggedWorld
from worlds import Sizes, drive, parameters_of, random_batch, small_mipi

from mipi_pl import distributed
from mipi_pl import spec as keys
from mipi_pl.datamodules.on_policy import OnPolicyDataModule
from mipi_pl.envs.matrix import MatrixGame
from mipi_pl.evaluation.generalization import evaluate
from mipi_pl.evaluation.worlds import Worlds, worlds_of
from mipi_pl.logging.csv import ResumableCSVLogger
from mipi_pl.run.state import RunState
from mipi_pl.utils.errors import DivergedError, UserError

PARTS = (
    Sizes(lengths=(2, 1, 3), seed=1),
    Sizes(lengths=(3,), lifetimes=((1, 1, 0),), absent=((),), truncated=(False,), seed=2),
)
"""Of the two processes: three episodes, and one in which nearly nobody acts."""
NOBODY = Sizes(lengths=(3,), lifetimes=((0, 0, 0),), absent=((),), truncated=(True,), seed=3)
OPTIONS: dict[str, dict[str, Any]] = {
    "paper": {"alpha": 0.3},
    "shared trunk": {"policy_moves_trunk": True, "alpha": 0.4},
    "forward": {"policy_divergence": "forward", "policy_steps": 2, "td_lambda": 0.7, "alpha": 0.4},
    "entropy": {"regularizer": "entropy", "alpha": 0.4},
    "clipped": {"gradient_clip": 0.01},
}
ON_POLICY: dict[str, dict[str, Any]] = {
    "mappo": {"recurrent": True},
    "mipi_ppo": {"regularizer": "mutual_information", "alpha": 0.3, "marginal_epochs": 1},
    "as they are": {"value_decay": None, "gradient_clip": 0.01, "truncation_is_terminal": False},
}
PAYOFFS = {"AB": [[1.0, 0.0], [0.0, 0.5]], "BB": [[0.0, 0.0], [0.0, 1.0]]}


def learn(options: dict[str, Any], batches: list[Any]) -> dict[str, Any]:
    """Parameters after an update on each batch, and the metrics of each."""
    optimizer = partial(torch.optim.SGD, lr=0.1)
    algorithm = small_mipi(PARTS[0].spec, optimizer=optimizer, **options).double()
    return {"metrics": drive(algorithm, batches), "parameters": parameters_of(algorithm)}


def batches_of(*sizes: Sizes) -> list[Any]:
    """Two batches of these episodes."""
    return [torch.cat([random_batch(s, partitions=3) for s in part]) for part in (sizes, sizes[::-1])]


def learn_on_policy(options: dict[str, Any], batches: list[Any]) -> dict[str, Any]:
    """As `learn`, of MAPPO and MIPI-PPO."""
    optimizer = partial(torch.optim.SGD, lr=0.1)
    algorithm = small_mappo(PARTS[0].spec, optimizer=optimizer, **options).double()
    return {"metrics": drive(algorithm, batches), "parameters": parameters_of(algorithm, *LEARNED)}


def rollouts(*sizes: Sizes) -> list[Any]:
    """Two rollouts of two steps, in which these episodes are played by an environment each."""
    of_parts = [rollouts_of(random_batch(s), steps=2, count=2) for s in sizes]
    for number, part in enumerate(of_parts):
        for batch in part:
            batch[keys.ENVIRONMENT] += sum(len(s.lengths) for s in sizes[:number])
    return [torch.cat(parts) for parts in zip(*of_parts, strict=True)]


def resumed(rank: int) -> dict[str, Any]:
    """What two more rollouts change and count, and the same after they were played anew from a checkpoint."""
    found = []
    checkpoint: dict[str, Any] = {}
    for number in range(2):
        module = OnPolicyDataModule(RaggedWorld, num_envs=3, seed=rank, rollout_steps=4)
        options = {"regularizer": "mutual_information", "marginal_teams": "actual", "minibatches": 2}
        algorithm = small_mappo(module.env.entity_spec, recurrent=True, **options)
        module.connect(algorithm.actor(greedy=False, seed=rank))
        if number == 0:
            for _ in range(3):
                drive(algorithm, [module.next_batch()])
            checkpoint = {"weights": {k: v.clone() for k, v in algorithm.state_dict().items()}}
            checkpoint["data"] = module.state_dict()
            algorithm.on_save_checkpoint(checkpoint)
        else:
            algorithm.load_state_dict(checkpoint["weights"])
            algorithm.on_load_checkpoint(checkpoint)
            module.load_state_dict(checkpoint["data"])
        torch.manual_seed(rank)  # the trainer's checkpoint has these draws
        for _ in range(2):
            batch = module.next_batch()
            drive(algorithm, [batch])
        counts = [module.frames, module.episodes, module.batches, module._own_episodes]
        found.append({"networks": algorithm.state_dict(), "counts": counts, "observed": batch[keys.ENTITIES].clone()})
    return {"whole": found[0], "resumed": found[1]}


def results(made: list[str]) -> list[dict[str, Any]]:
    """Of an untrained policy in three worlds; notes in `made` those that are played here."""

    def make_env(*, num_envs: int, seed: int, **changes: Any) -> MatrixGame:
        if num_envs > 1:
            made.append(str(changes.get("team_compositions", "training")))
        return MatrixGame(PAYOFFS, **{"team_compositions": ["AB"], **changes}, num_envs=num_envs, seed=seed)

    torch.manual_seed(0)
    algorithm = small_mipi(make_env(num_envs=1, seed=0).entity_spec)
    worlds = worlds_of([], {name: {"team_compositions": name.split("+")} for name in ("BB", "AB+BB")})
    with Worlds(make_env, worlds, 8, seed=5) as played_in:
        played = evaluate(lambda _, seed: algorithm.actor(greedy=True, seed=seed), played_in)
    return [result.as_dict() for result in played]


def message_of(error: type[Exception], work: Any) -> str:
    """The message of the error that `work` must raise."""
    try:
        work()
    except error as raised:
        return str(raised)
    return "nothing"


def diverging(rank: int) -> None:
    """A batch that one process alone cannot learn from."""
    (batch, _) = batches_of(PARTS[rank])
    if rank == 1:
        batch["reward"][:, 0] = float("nan")
    learn({}, [batch])


def wrong_policy(rank: int) -> None:
    """A policy that is not finite in one process alone."""
    module = data()
    if rank == 1:
        assert module._actor is not None
        module._actor.agent.policy_logits.weight.data.fill_(float("nan"))
    module.collect()


def unused(rank: int) -> list[list[float] | None]:
    """Gradients of parameters that both, one and none of the processes use, after they were averaged."""
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    sum(parameter.sum() * (1 + rank) for parameter in parameters[: 2 - rank]).backward()  # type: ignore[union-attr]
    distributed.average_gradients(parameters)
    return [None if p.grad is None else p.grad.tolist() for p in parameters]


def on_first_rank(rank: int) -> list[Any]:
    """What the first process does for all, and what it is refused."""

    def refuse() -> None:
        raise UserError("no")

    return [
        distributed.on_first_rank(lambda: rank + 10),
        message_of(UserError, lambda: distributed.on_first_rank(refuse)),
    ]


def full_disk(rank: int, folder: Path) -> str:
    """A log of the first process cannot be written while a checkpoint is made."""

    class FullLog(ResumableCSVLogger):
        def content(self) -> dict[str, Any]:
            raise OSError("disk full")

    data_ = SimpleNamespace(frames=1, journal_files=dict)
    trainer = SimpleNamespace(datamodule=data_, loggers=[FullLog(str(folder))], is_global_zero=rank == 0)
    state = RunState({}, folder)
    return message_of(OSError, lambda: state.on_save_checkpoint(trainer, SimpleNamespace(updates=1), {}))  # type: ignore[arg-type]


def main(folder: Path) -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    torch.set_num_threads(1)
    rank, made = distributed.rank(), list[str]()
    torch.save(
        {
            "learned": {name: learn(options, batches_of(PARTS[rank])) for name, options in OPTIONS.items()},
            "on-policy": {name: learn_on_policy(o, rollouts(PARTS[rank])) for name, o in ON_POLICY.items()},
            "rollout without decisions": learn_on_policy({}, rollouts((PARTS[0], NOBODY)[rank])),
            "on-policy, resumed": resumed(rank),
            "one has nothing": learn({}, batches_of((PARTS[0], NOBODY)[rank])),
            "results": results(made),
            "made": made,
            "diverged": message_of(DivergedError, lambda: diverging(rank)),
            "wrong policy": message_of(DivergedError, lambda: wrong_policy(rank)),
            "unused": unused(rank),
            "full disk": full_disk(rank, folder),
            "on first rank": on_first_rank(rank),
            "any rank": [distributed.any_rank(rank == 1), distributed.any_rank(False)],
        },
        folder / f"rank_{rank}.pt",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
