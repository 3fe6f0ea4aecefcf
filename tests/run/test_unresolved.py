"""A config that cannot be resolved is refused with the key that has the mistake, and not one that refers to it."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from mipi_pl.run.config import resolve
from mipi_pl.utils.errors import UserError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"logger": {"dir": "${run.folder}"}, "run": {"folder": "${run.name}", "name": "${x:1}"}}, "run.name: Unsuppo"),
        ({"a": "${seed}", "seed": "${nothing}"}, "seed: Interpolation key 'nothing' not found"),
        ({"a": "${b}", "b": "${c}", "c": "${b}"}, "b: Recursive interpolation detected"),
        ({"held_out": {"episodes": "${held_out.episodes}"}}, "held_out.episodes: Recursive interpolation detected"),
        ({"env": {"a": "${env}"}}, "env.a: Interpolation to parent node detected"),
        ({"a": [1, {"b": "???"}]}, "a.1.b: Missing mandatory value: a[1].b"),
    ],
)
def test_the_key_with_the_mistake_is_named(content: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        resolve(OmegaConf.create(content))
    assert str(refused.value).startswith(f"the config cannot be resolved: {message}")
