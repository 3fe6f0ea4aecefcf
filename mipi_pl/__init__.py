"""Train agents that cooperate in teams they have never seen.

What a notebook imports. Names are looked up when they are first used, so that importing the package costs nothing.

Examples:
    >>> from mipi_pl import evaluate, load_policy, make_env, train
    >>> policy = load_policy("sz")
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mipi_pl.algorithms.collaq import CollaQ
    from mipi_pl.algorithms.mappo import MAPPO
    from mipi_pl.algorithms.mipi import MIPI
    from mipi_pl.algorithms.mipi_ppo import MIPIPPO
    from mipi_pl.algorithms.q_learning import QLearning
    from mipi_pl.evaluation.results_table import Table
    from mipi_pl.run.api import TrainedRun, evaluate, load_policy, make_env, resume, train
    from mipi_pl.run.policy import Policy
    from mipi_pl.utils.errors import UserError

try:
    __version__ = version("mipi-pl")
except PackageNotFoundError:  # the source folder without an installation
    __version__ = "0+unknown"

_HOMES = {
    "train": "mipi_pl.run.api",
    "evaluate": "mipi_pl.run.api",
    "load_policy": "mipi_pl.run.api",
    "make_env": "mipi_pl.run.api",
    "resume": "mipi_pl.run.api",
    "TrainedRun": "mipi_pl.run.api",
    "Policy": "mipi_pl.run.policy",
    "Table": "mipi_pl.evaluation.results_table",
    "UserError": "mipi_pl.utils.errors",
    "MIPI": "mipi_pl.algorithms.mipi",
    "MAPPO": "mipi_pl.algorithms.mappo",
    "MIPIPPO": "mipi_pl.algorithms.mipi_ppo",
    "QLearning": "mipi_pl.algorithms.q_learning",
    "CollaQ": "mipi_pl.algorithms.collaq",
}

__all__ = [
    "MAPPO",
    "MIPI",
    "MIPIPPO",
    "CollaQ",
    "Policy",
    "QLearning",
    "Table",
    "TrainedRun",
    "UserError",
    "__version__",
    "evaluate",
    "load_policy",
    "make_env",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
