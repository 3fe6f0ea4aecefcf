"""Run folders like those of `mipi train`, written without training."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch
import yaml

from mipi_pl.envs.composition import Composition
from mipi_pl.evaluation.generalization import Result
from mipi_pl.evaluation.rollout import Episodes
from mipi_pl.evaluation.tables import rows_of
from mipi_pl.run.report import as_json

EPISODES = 20


def result(name: str, sizes: tuple[int, ...], share: float, episodes: int = EPISODES, winnable: bool = True) -> Result:
    """So many episodes, dealt to the sizes in turn, of which the first `share` are won with a return of 10."""
    compositions = [Composition((("marine", size),)) for size in sizes]
    won = torch.arange(episodes) < round(share * episodes)
    return_ = torch.where(won, 10.0, 2.0).double()
    length, composition = torch.full((episodes,), 20), torch.arange(episodes) % len(sizes)
    played = Episodes(return_, won, length, composition, torch.zeros_like(won))
    return Result.from_episodes(name, compositions, played, winnable)


def results(shares: tuple[float, ...], episodes: int = EPISODES, winnable: bool = True) -> list[Result]:
    """The training teams 3-5, then 6, 7, 8."""
    worlds = (("training", (3, 4, 5)), ("6", (6,)), ("7", (7,)), ("8", (8,)))
    return [
        result(name, sizes, share, episodes, winnable) for (name, sizes), share in zip(worlds, shares, strict=False)
    ]


def make_run(
    root: Path,
    algorithm: str = "mipi",
    seed: int = 0,
    shares: tuple[float, ...] = (0.9, 0.6, 0.5, 0.4),
    *,
    environment: str = "marines",
    total_frames: int = 1000,
    episodes: int = EPISODES,
    winnable: bool = True,
    finished: bool = True,
    time: str = "2026-01-01_00-00-00",
    env: dict[str, Any] | None = None,
    algorithm_keys: dict[str, Any] | None = None,
    commit: str = "c" * 40,
    words: str = "",
    overrides: list[str] | None = None,
) -> Path:
    """A run folder below `root`, whose win rates grow from none to `shares`; `words` are more words of its command.

    `overrides` are those in its config; None if there are none, as in earlier versions.
    """
    folder = root / f"{environment}__{algorithm}__{seed}" / time
    folder.mkdir(parents=True)
    config = {
        "env": {"_target_": "a.World", "enemy_delta": -1, **(env or {})},
        "algorithm": {"_target_": "an.Algorithm", "alpha": 0.1, **(algorithm_keys or {})},
        "datamodule": {"num_envs": 2, "seed": seed},
        "held_out": {"seed": 1, "episodes": episodes},
        "seed": seed,
        "total_frames": total_frames,
        "run": {"environment": environment, "algorithm": algorithm},
    }
    if overrides is not None:
        config["run"]["overrides"] = overrides
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    before, middle, after = (
        results(tuple(part * share for share in shares), episodes, winnable) for part in (0.0, 0.5, 1.0)
    )
    # The final evaluation, the last one, has the frames of the last one while learning.
    reached = ((0, before), (total_frames // 2, middle), (total_frames, after), (total_frames, after))
    reached = reached[: 4 if finished else 2]
    rows = [
        {"frames": frames, "updates": frames // 10, **row} for frames, at in reached for row in rows_of("greedy", at)
    ]
    with (folder / "evaluations.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    provenance = {"command": f"mipi train algorithm={algorithm} seed={seed} {words}".strip(), "commit": commit}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    if finished:
        scripted = {"scripted": {"random": as_json(before)}}
        counts = {"frames": total_frames + 3, "updates": total_frames // 10, "seconds": 3600.0, "seed": seed}
        counts["processor_seconds"] = 1800.0
        content = {**as_json(after), "before": as_json(before), **scripted, **counts, **provenance}
        (folder / "results.json").write_text(json.dumps(content))
    return folder
