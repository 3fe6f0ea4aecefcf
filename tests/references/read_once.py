"""Reads each config file of the program once in a test process, which composes hundreds of configs."""

from __future__ import annotations

import pickle
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType

_load = ConfigRepository.load_config
_read: dict[tuple[str, str, str], bytes] = {}


def install() -> None:
    """Replace the reading of files by Hydra; those of folders that tests write are read each time."""
    ConfigRepository.load_config = load_config  # type: ignore[method-assign]


def load_config(self: ConfigRepository, config_path: str) -> Any:
    source = self._find_object_source(config_path, ObjectType.CONFIG)
    if source is None or source.scheme() != "pkg":
        return _load(self, config_path)
    key = (source.provider, source.path, config_path)
    if key not in _read:
        _read[key] = pickle.dumps(_load(self, config_path))
    return pickle.loads(_read[key])
