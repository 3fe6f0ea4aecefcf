"""Names of a run that show what its command line changed, so that the runs of a sweep can be told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, open_dict

_NAMES = {"environment": "env", "algorithm": "algorithm", "experiment": "experiment"}
"""Keys of `run`, and the config groups whose choices they name."""
_NODES = ("run", "picture", "logger", "hydra", "callbacks.video", "callbacks.progress", "callbacks.checkpointing")
"""Keys that, with their entries, do not affect what is learned."""
_LEFT_OUT = {*_NAMES.values(), *_NODES, "seed", "output_dir", "config_dir", "threads", "lost_after_s"}
"""Those and the keys that are in the name already or depend on the machine."""


def name_run(config: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Write into the composed config of a run its choices, its overrides, what they changed, and its setting.

    Args:
        config: composed train.yaml; its node `run` is changed.
        choices: chosen config file of each group.
        overrides: overrides from which the config was composed.
    """
    changes = changes_of(overrides)
    setting = [f"{choices.get('env')}__{choices.get('algorithm')}", choices.get("experiment"), changes]
    with open_dict(config.run):  # an override may have removed a key
        for key, group in _NAMES.items():
            config.run[key] = choices.get(group)
        config.run.overrides = [override.replace("${", "{") for override in overrides]  # not interpolations here
        config.run.changes, config.run.setting = changes, " ".join(str(part) for part in setting if part)


def changes_of(overrides: Sequence[str]) -> str:
    """Return the overrides that change what is learned, sorted by key, such as ``alpha=0.02 network=refil``.

    The names of environment, algorithm and experiment, and the seed, are left out: the name of a run has them already.
    ``algorithm.`` and ``env.`` are left out of a key if no other key is equal without them.
    """
    values: dict[str, str] = {}
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        name = key.lstrip("~").partition("@")[0]
        if name not in _LEFT_OUT and not name.startswith(tuple(f"{node}." for node in _NODES)):
            values[key] = value.replace("${", "{")  # not an interpolation here
    short = {key: key.removeprefix("algorithm.").removeprefix("env.") for key in sorted(values)}
    uses = Counter(short.values())
    shown = [(name if uses[name] == 1 else key, values[key]) for key, name in short.items()]
    return " ".join(f"{name}={value}" if value or not name.startswith("~") else name for name, value in shown)
