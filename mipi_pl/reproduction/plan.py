"""What a table, a figure or our ablations take: tasks x methods x seeds, read from plans/, and the paper's numbers."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from mipi_pl.utils.errors import UserError

TARGETS = ("table1", "table2", "table3", "figure2", "figure4", "ablations", "ablations_ppo")
SCALES = ("smoke", "cpu", "paper")

Cell = tuple[str, str, str]
"""Task, method, column."""


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        task: of the plan.
        method: of the plan.
        seed: of training.
        overrides: for `mipi train`, without seed and folder.
        folder: that its run folder is made in; tables that need the same run share it.
    """

    task: str
    method: str
    seed: int
    overrides: tuple[str, ...]
    folder: Path

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.task}, {self.method}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """A table, a figure or the ablations at a scale.

    Attributes:
        name: of the target.
        title: what it is.
        note: what the scale means.
        columns: name in the paper to evaluation.
        jobs: all runs.
        returns: whether returns are compared, also where something is won.
        paper: mean and standard deviation over seeds; empty for what is no table of the paper.
        best: the method that the paper says is best, and the columns it says so of; empty for what is no figure of it.
    """

    name: str
    title: str
    note: str
    columns: Mapping[str, str]
    jobs: tuple[Job, ...]
    returns: bool
    paper: Mapping[Cell, tuple[float, float]]
    best: Mapping[str, Any]

    @property
    def tasks(self) -> list[str]:
        """In the order of the plan."""
        return list(dict.fromkeys(job.task for job in self.jobs))

    def methods(self, task: str) -> list[str]:
        """Of a task, in the order of the plan."""
        return list(dict.fromkeys(job.method for job in self.jobs if job.task == task))


def make_plan(
    target: str,
    scale: str,
    output_dir: Path,
    seeds: Sequence[int] | None = None,
    more: Sequence[str] = (),
    tasks: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
) -> Plan:
    """Read a plan.

    Args:
        target: one of `TARGETS`.
        scale: one of `SCALES`.
        output_dir: runs lie in a folder of the scale's name in it.
        seeds: instead of the scale's.
        more: overrides for all runs, behind all others.
        tasks: of the plan; None for all.
        methods: likewise.

    Raises:
        UserError: for a scale, a task or a method that the plan does not have, or a seed that is named twice.
    """
    found, size = _read(f"{target}.yaml"), _read("scales.yaml")[scale]
    if scale not in found["scales"]:
        raise UserError(f"{target} has no scale {scale}; there are: {', '.join(found['scales'])}")
    if seeds and len(set(seeds)) != len(seeds):
        raise UserError(f"--seeds names a seed twice: {' '.join(map(str, seeds))}")
    paper = _paper(found["paper"]) if found["paper"] else {}
    wanted = {(task, method) for task, method, _ in paper}
    jobs = []
    for task, of_task in _chosen(target, "task", found["tasks"], tasks).items():
        for method, by_task in _chosen(target, "method", found["methods"], methods).items():
            of_method = next(by_task[key] for key in (scale, task, "all") if key in by_task)
            overrides = (*size["overrides"], *found["scales"][scale], *of_task, *of_method, *more)
            # The experiment is chosen before what is changed in it; Hydra does not mind the order, readers do.
            overrides = tuple(sorted(overrides, key=lambda word: not word.startswith(("experiment=", "env="))))
            folder = output_dir / scale / _folder_name(overrides)
            if not paper or (task, method) in wanted:
                jobs += [Job(task, method, seed, overrides, folder) for seed in seeds or size["seeds"]]
    how = (found["columns"], tuple(jobs), found.get("returns", False), paper, found.get("best", {}))
    return Plan(target, found["title"], size["note"], *how)


def _chosen(target: str, kind: str, known: Mapping[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    """Those of the plan that are named, in its order."""
    wanted = {name.casefold(): name for name in names or ()}
    if unknown := set(wanted) - {name.casefold() for name in known}:
        told = ", ".join(sorted(wanted[name] for name in unknown))
        raise UserError(f"{target} has no {kind} {told}; there are: {', '.join(known)}")
    return {name: node for name, node in known.items() if names is None or name.casefold() in wanted}


def _folder_name(overrides: Sequence[str]) -> str:
    """World, algorithm, and a checksum of everything that is set: other settings are other runs."""
    chosen = dict(word.split("=", 1) for word in overrides if "=" in word)
    world = chosen.get("env", chosen.get("experiment", "run"))
    return f"{world}-{chosen['algorithm']}-{hashlib.sha256(repr(overrides).encode()).hexdigest()[:8]}"


def _read(name: str) -> dict[str, Any]:
    found = yaml.safe_load(files("mipi_pl.reproduction").joinpath("plans", name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def _paper(name: str) -> dict[Cell, tuple[float, float]]:
    lines = files("mipi_pl.reproduction").joinpath("paper", name).read_text(encoding="utf-8").splitlines()
    reader = csv.DictReader(lines)
    method = "alpha" if "alpha" in (reader.fieldnames or ()) else "algorithm"
    return {
        (row["task"], row[method], row["team_size"]): (float(row["win_rate_mean"]), float(row["win_rate_std"]))
        for row in reader
    }
