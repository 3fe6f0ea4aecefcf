"""Any value of any key either builds a run or gives one clear message."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import fuzz_draws
import pytest
from fuzz_cases import Outcome, Results, is_stated, judge
from fuzz_draws import TRAIN_BASES, Scene, change, command_line, keys_of

import mipi_pl.commands
from mipi_pl.evaluation.worlds import workload_note
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
    assert "processor hours: 1 ran, 2 refused, 0 failed, 0 long, 0 traceback, 0 hang, 0 other" in done.stdout


@pytest.mark.parametrize(
    ("code", "was_stopped", "out", "err", "kind"),
    [
        (0, False, "", "a warning", "ran"),
        (2, False, "", "mipi: unknown key x\n", "refused"),
        (1, False, "", "mipi: diverged\n", "failed"),
        (2, False, "", "mipi: two\nlines\n", "other"),
        (-9, False, "", "", "other"),
        (1, False, "", "Traceback (most recent call last):\n", "traceback"),
        (130, True, "matrix_game / MIPI, seed 0: 20 frames, folder x\n", "", "hang"),
        (130, True, "matrix_game / MIPI, seed 0: 9,223,372,036,854,775,807 frames, folder x\n", "", "long"),
        (
            130,
            True,
            "note: ... of up to 9 steps in each of 2 worlds, up to 2,000,000 steps in all; Ctrl-C ends it\n",
            "",
            "long",
        ),
        (-9, True, "seed 0: 1,000,000 frames, folder x\n", "", "hang"),
    ],
)
def test_outcomes_are_judged_by_exit_code_output_and_what_was_stated(
    code: int, was_stopped: bool, out: str, err: str, kind: str
) -> None:
    assert judge(code, was_stopped, out, err) == kind


def test_a_note_on_the_work_of_an_evaluation_is_a_statement() -> None:
    assert is_stated(str(workload_note(2, 2, 100_000)))


BUSY = """
import sys, time
from pathlib import Path
import mipi_pl.cli
from fuzz_cases import Limits, run
def work(words):
    print(words[0], flush=True)
    try:
        while True:
            time.sleep(1e-6)
    except KeyboardInterrupt:
        return 130
mipi_pl.cli.main = work
for number, word in enumerate(["x: 20 frames, folder y", "x: 9,000 frames, folder y"]):
    outcome = run([word], Path(sys.argv[1]) / str(number), Limits(stated_s=0.1, silent_s=0.3, wall_s=300))
    print(outcome.kind, outcome.seconds < 0.3, outcome.code, "in work" in outcome.output)
"""


def test_a_case_is_stopped_by_its_processor_time_and_sooner_if_it_has_said_that_it_is_long(tmp_path: Path) -> None:
    references = FUZZ.parents[1] / "tests" / "references"
    environment = {**os.environ, "PYTHONPATH": f"{FUZZ.parents[1]}:{references}"}
    done = subprocess.run(
        [sys.executable, "-c", BUSY, str(tmp_path)], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.splitlines() == ["hang False 130 True", "long True 130 False"]


def test_results_are_kept_when_the_fuzz_test_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "fuzz" / "seed_1.jsonl"
    outcome = Outcome(4, "ran", ["runs"], "", 0, 1.0, 2.0)
    Results(path).add(outcome)
    with path.open("a") as file:
        file.write('{"number": 5, "ki')  # it was killed here
    again = Results(path)
    assert again.missing(range(3, 6)) == [3, 5]
    again.add(Outcome(3, "long", ["runs"], "", 130, 20.0, 30.0))
    assert [one.number for one in Results(path).outcomes] == [4, 3]
    assert "1 ran, 0 refused, 0 failed, 1 long, 0 traceback, 0 hang, 0 other; commit" in again.summary(range(5))


def test_the_latest_outcome_of_a_case_counts_and_those_of_another_commit_are_repeated(tmp_path: Path) -> None:
    path = tmp_path / "seed_1.jsonl"
    first = Results(path, "aaaaaaaa")
    for number, kind in enumerate(("ran", "traceback", "ran", "hang")):
        first.add(Outcome(number, kind, ["runs"], "", 0, 1.0, 2.0))
    assert first.missing(range(5)) == [1, 3, 4]
    second = Results(path, "bbbbbbbb")
    assert second.missing(range(3)) == [0, 1, 2]
    for number in (0, 1, 2):
        second.add(Outcome(number, "refused", ["runs"], "", 2, 1.0, 2.0))
    assert second.missing(range(3)) == []
    assert [one.kind for one in second.latest(range(3))] == ["refused"] * 3
    summary = second.summary(range(3))
    assert "3 configurations" in summary
    assert "3 refused, 0 failed, 0 long, 0 traceback, 0 hang, 0 other; commit bbbbbbb; " in summary
    assert "commit aaaaaaa, bbbbbbb; " in second.summary(range(4))


def test_every_command_is_drawn() -> None:
    assert set(fuzz_draws.COMMANDS) == set(mipi_pl.commands.COMMANDS)
    scene = Scene({"a.ckpt": {}}, Path("run"), {base: {"seed": 1, "env": {}} for base in TRAIN_BASES})
    lines = [command_line(random.Random(number), scene) for number in range(3000)]
    assert {line[0] for line in lines} == set(mipi_pl.commands.COMMANDS)
    words = {word.partition("=")[0] for line in lines for word in line}
    assert words >= {"--absolute", "--format", "--label", "--exclude", "--marl-eval", "total_frames", "--line"}


def test_most_random_values_are_refused(keys: list[str], tmp_path: Path) -> None:
    draw = random.Random(-1)
    messages = [refusal([*TINY, f"{draw.choice(keys)}=abc"], tmp_path) for _ in range(10)]
    assert messages.count(None) <= 5
