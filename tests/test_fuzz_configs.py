"""Any value of any key either builds a run or gives one clear message."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fuzz_draws import TRAIN_BASES, change, keys_of

from mipi_pl.run.compose import compose
from mipi_pl.run.config import check_train, resolve
from mipi_pl.run.parts import assemble
from mipi_pl.run.processes import build_trainer
from mipi_pl.utils.errors import UserError

TINY = ["experiment=quickstart", "algorithm=mipi", "debug=tiny", "datamodule.num_envs=1", "datamodule.capacity=4"]
VALUES = ["-1", "0", "1.5", "nan", "inf", "-inf", "1e400", "null", "[]", "[[]]", "{}", "''", "abc", "true", "[-3,abc]"]
CASES, STRUCTURES = 60, 20
FUZZ = Path(__file__).parents[1] / "benchmarks" / "fuzz_configs.py"


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
def present() -> dict[str, Any]:
    """The keys of the config with their values."""
    return keys_of(resolve(compose(TINY)))


@pytest.fixture(scope="module")
def keys(present: dict[str, Any]) -> list[str]:
    return [key for key in present if "_target_" not in key and not key.startswith("run")]


def test_the_config_itself_can_be_built(tmp_path: Path) -> None:
    assert refusal([*TINY, f"output_dir={tmp_path}"], tmp_path) is None


@pytest.mark.parametrize("case", range(CASES))
def test_a_random_value_is_taken_or_refused_with_a_message(case: int, keys: list[str], tmp_path: Path) -> None:
    draw = random.Random(case)
    override = f"{draw.choice(keys)}={draw.choice(VALUES)}"
    message = refusal([*TINY, f"output_dir={tmp_path}", override], tmp_path)
    assert message is None or 10 < len(message) < 2000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("case", range(STRUCTURES))
def test_a_random_change_of_the_structure_is_taken_or_refused_with_a_message(
    case: int, present: dict[str, Any], tmp_path: Path
) -> None:
    """Nodes replaced, removed or added, choices of other groups, interpolations: see `make fuzz` for many of them."""
    draw = random.Random(case)
    base, words = TRAIN_BASES[case % len(TRAIN_BASES)], change(draw, present)
    message = refusal([*base, "debug=tiny", f"output_dir={tmp_path}", *words], tmp_path)
    assert message is None or 10 < len(message) < 4000
    assert list(tmp_path.iterdir()) == []


def test_the_fuzz_test_sorts_outcomes_and_fails_only_for_a_defect() -> None:
    command = [sys.executable, str(FUZZ), "--only", "compositions env=marines", "train env=nothing", "runs nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 configurations in" in done.stdout
    assert "1 ran, 2 refused, 0 failed, 0 long, 0 traceback, 0 hang, 0 other" in done.stdout


def test_most_random_values_are_refused(keys: list[str], tmp_path: Path) -> None:
    draw = random.Random(-1)
    messages = [refusal([*TINY, f"{draw.choice(keys)}=abc"], tmp_path) for _ in range(10)]
    assert messages.count(None) <= 5
