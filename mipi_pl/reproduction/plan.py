"""Plans of tables, figures and ablations: the runs (tasks x methods x seeds) from plans/ and the paper's numbers."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from mipi_pl.utils.errors import UserError

TARGETS = ("table1", "table2", "table3", "figure2", "figure4", "ablations", "ablations_ppo", "prices", "mixes")
SCALES = ("smoke", "cpu", "paper")

_OPTION_FOR = {
    "seed": "seeds with --seeds",
    "env": "tasks with --tasks",
    "algorithm": "methods with --methods",
    "experiment": "a protocol with --scale",
    "output_dir": "the folder with --output-dir",
}
"""How to choose what every plan sets."""

Cell = tuple[str, str, str]
"""Task, method and column of a table."""


@dataclass(frozen=True)
class Job:
    """One run of a plan.

    Attributes:
        task: name of the task in the plan.
        method: name of the method in the plan.
        seed: seed of training.
        overrides: arguments of `mipi train` except seed and folder.
        folder: folder in which the run folder is created; tables that need the same run share it.
    """

    task: str
    method: str
    seed: int
    overrides: tuple[str, ...]
    folder: Path

    @property
    def name(self) -> str:
        """Task, method and seed, for messages."""
        return f"{self.task}, {self.method}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """The runs of a table, a figure or the ablations at one scale.

    Attributes:
        name: name of the target.
        title: title of the page.
        note: description of the scale.
        columns: evaluation of each column, by its name in the paper.
        jobs: all runs.
        returns: whether to compare returns even if the environment has a win rate.
        paper: the paper's mean and standard deviation over seeds; empty if the target is not a table of the paper.
        best: the ``method`` that is best according to the paper, and the ``columns`` of which it says so; empty if the
            target is not a figure of the paper.
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
        """Tasks in the order of the plan."""
        return list(dict.fromkeys(job.task for job in self.jobs))

    def methods(self, task: str) -> list[str]:
        """Return the methods of a task, in the order of the plan."""
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
        output_dir: folder of all reproductions; the runs are in its subfolder with the name of the scale.
        seeds: seeds to use instead of those of the scale; None or empty for those.
        more: overrides for all runs, applied after all others, sorted by key; of one key, the last one counts.
        tasks: tasks of the plan to include; None for all.
        methods: methods of the plan to include; None for all.

    Raises:
        UserError: if the plan does not have the scale, a task or a method, a seed is given twice, or `more` sets what
            the plan or its methods set.
    """
    _refuse_what_plans_set(more)
    plan, size = _read(f"{target}.yaml"), _read("scales.yaml")[scale]
    if scale not in plan["scales"]:
        raise UserError(f"{target} has no scale {scale}; choose one of: {', '.join(plan['scales'])}")
    if seeds and len(set(seeds)) != len(seeds):
        raise UserError(f"--seeds names a seed twice: {' '.join(map(str, seeds))}")
    paper = _paper(plan["paper"]) if plan["paper"] else {}
    in_paper = {(task, method) for task, method, _ in paper}
    ours = set(plan["methods"]) - {method for _, method in in_paper}
    more = sorted(more, key=_key)  # in any order, the same runs
    jobs = []
    for task, of_task in _chosen(target, "task", plan["tasks"], tasks).items():
        all_methods = {method: _of_task(by_task, scale, task) for method, by_task in plan["methods"].items()}
        _refuse_what_methods_set(more, all_methods.values())
        for method, of_method in _chosen(target, "method", all_methods, methods).items():
            overrides = (*size["overrides"], *plan["scales"][scale], *of_task, *of_method, *more)
            # For readers, experiment and environment come before the changes to them; Hydra accepts any order.
            overrides = tuple(sorted(overrides, key=lambda word: not word.startswith(("experiment=", "env="))))
            folder = output_dir / scale / _folder_name(overrides)
            if method in ours or (task, method) in in_paper:
                jobs += [Job(task, method, seed, overrides, folder) for seed in seeds or size["seeds"]]
    content = (plan["columns"], tuple(jobs), plan.get("returns", False), paper, plan.get("best", {}))
    return Plan(target, plan["title"], size["note"], *content)


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def _of_task(by_task: Mapping[str, list[str]], scale: str, task: str) -> list[str]:
    """Return the overrides of a method in one task."""
    return next(by_task[key] for key in (scale, task, "all") if key in by_task)


def _refuse_what_plans_set(more: Sequence[str]) -> None:
    """Raise a UserError if an override for all runs sets what every plan sets."""
    for word in more:
        if (key := _key(word)) in _OPTION_FOR:
            raise UserError(f"the plan sets {key}; remove {word}, and choose {_OPTION_FOR[key]}")


def _refuse_what_methods_set(more: Sequence[str], methods: Iterable[Sequence[str]]) -> None:
    """Raise a UserError if an override for all runs sets a key that the overrides of a method set."""
    of_methods = sorted({_key(of_method) for words in methods for of_method in words})
    for word in more:
        for key in of_methods:
            if f"{key}.".startswith(f"{_key(word)}."):  # the key itself, or a mapping that contains it
                raise UserError(f"the plan's methods set {key}; remove {word}")


def _chosen(target: str, kind: str, known: Mapping[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    """Return the entries of the plan with these names (in any case), in the order of the plan; all if None."""
    wanted = {name.casefold(): name for name in names or ()}
    if unknown := set(wanted) - {name.casefold() for name in known}:
        listed = ", ".join(sorted(wanted[name] for name in unknown))
        raise UserError(f"{target} has no {kind} {listed}; choose from: {', '.join(known)}")
    return {name: node for name, node in known.items() if names is None or name.casefold() in wanted}


def _folder_name(overrides: Sequence[str]) -> str:
    """Return environment, algorithm and a checksum of all overrides, so that different settings are different runs."""
    values = dict(word.split("=", 1) for word in overrides if "=" in word)
    env = values.get("env", values.get("experiment", "run"))
    return f"{env}-{values['algorithm']}-{hashlib.sha256(repr(overrides).encode()).hexdigest()[:8]}"


def _read(name: str) -> dict[str, Any]:
    content = yaml.safe_load(files("mipi_pl.reproduction").joinpath("plans", name).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def _paper(name: str) -> dict[Cell, tuple[float, float]]:
    lines = files("mipi_pl.reproduction").joinpath("paper", name).read_text(encoding="utf-8").splitlines()
    reader = csv.DictReader(lines)
    method = "alpha" if "alpha" in (reader.fieldnames or ()) else "algorithm"
    return {
        (row["task"], row[method], row["team_size"]): (float(row["win_rate_mean"]), float(row["win_rate_std"]))
        for row in reader
    }
