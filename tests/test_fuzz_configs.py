"""Any value of any key either builds a run or gives one clear message."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from mipi_pl.run.compose import compose
from mipi_pl.run.config import check_train, resolve
from mipi_pl.run.parts import assemble
from mipi_pl.run.processes import build_trainer
from mipi_pl.utils.errors import UserError

TINY = ["experiment=quickstart", "algorithm=mipi", "debug=tiny", "datamodule.num_envs=1", "datamodule.capacity=4"]
VALUES = ["-1", "0", "1.5", "nan", "inf", "-inf", "1e400", "null", "[]", "[[]]", "{}", "''", "abc", "true", "[-3,abc]"]
CASES = 60


def keys_of(node: Any, path: str = "") -> list[str]:
    """Every key below `node`, inner ones and leaves."""
    if not isinstance(node, dict):
        return [path]
    below = [key for name, value in node.items() for key in keys_of(value, f"{path}.{name}" if path else str(name))]
    return [path, *below] if path else below


def refusal(overrides: list[str], folder: Path) -> str | None:
    """The message with which the run is refused; None if it can be built."""
    try:
        config = resolve(compose(overrides))
        check_train(config)
        assemble(config, folder, build_trainer(config["trainer"]))
    except UserError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def keys() -> list[str]:
    return [key for key in keys_of(resolve(compose(TINY))) if "_target_" not in key and not key.startswith("run")]


def test_the_config_itself_can_be_built(tmp_path: Path) -> None:
    assert refusal([*TINY, f"output_dir={tmp_path}"], tmp_path) is None


@pytest.mark.parametrize("case", range(CASES))
def test_a_random_value_is_taken_or_refused_with_a_message(case: int, keys: list[str], tmp_path: Path) -> None:
    draw = random.Random(case)
    override = f"{draw.choice(keys)}={draw.choice(VALUES)}"
    message = refusal([*TINY, f"output_dir={tmp_path}", override], tmp_path)
    assert message is None or 10 < len(message) < 2000
    assert list(tmp_path.iterdir()) == []


def test_most_random_values_are_refused(keys: list[str], tmp_path: Path) -> None:
    draw = random.Random(-1)
    messages = [refusal([*TINY, f"{draw.choice(keys)}=abc"], tmp_path) for _ in range(10)]
    assert messages.count(None) <= 5
