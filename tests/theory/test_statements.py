"""The paper's statements hold on random processes or fail where docs/theory.md says so; the command and the page."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

from mipi_pl.cli import main
from mipi_pl.theory import report, statements
from mipi_pl.theory.counterexamples import counterexamples
from mipi_pl.theory.findings import Finding, distance, excess, largest_violation
from mipi_pl.theory.policy_iteration import Iteration, evaluate_policies, iterate
from mipi_pl.theory.report import as_text
from mipi_pl.theory.statements import lemma_1, lemma_2, theorem_1
from mipi_pl.theory.statements_alternation import theorem_2

once = cache(counterexamples)
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "theory.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _counterexamples_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "counterexamples", once)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31))
def test_the_statements_hold_on_any_process(seed: int) -> None:
    one = range(seed, seed + 1)
    for finding in (*lemma_1(one), *lemma_2(one), *theorem_1(one), *theorem_2(one)):
        assert finding.holds or not finding.known, finding


def test_every_counterexample_is_one_and_the_page_has_its_numbers() -> None:
    examples = once()
    assert all(example.violation > 0.1 for example in examples)
    assert as_text(examples) in PAGE, "docs/theory.md: put in what `mipi theory` prints"


def test_the_command_prints_the_table_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", "--instances", "20", f"--output-dir={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    with (tmp_path / "statements.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    for row in rows:
        line = re.compile(
            rf"{re.escape(row['statement'])} +{re.escape(row['checked'])} .*{row['verdict']}$", re.MULTILINE
        )
        assert line.search(printed)
        assert line.search(PAGE), f"{row['statement']}, {row['checked']}: {row['verdict']} is not in docs/theory.md"
        assert row["instances"] == "20"
    paths = [str(tmp_path / name) for name in ("statements.csv", "counterexamples.json", "convergence.png")]
    shown = [line for line in printed.splitlines() if not any(path in line for path in paths)]
    assert max(map(len, shown)) <= 80
    assert len(json.loads((tmp_path / "counterexamples.json").read_text())) == 6
    assert imread(tmp_path / "convergence.png").std() > 0.05


def test_few_processes_without_a_counterexample_refute_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["theory", "--instances", "1", f"--output-dir={tmp_path}"]) == 0
    assert "no counterexample among instances, 1 in all: Theorem 1, without (6)" in capsys.readouterr().out


def test_a_statement_that_fails_but_should_hold_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuted = Finding("Lemma 9", "always", instances=20, failed=3, largest=0.5, known=True)
    monkeypatch.setattr(report, "check_all", lambda _: [refuted])
    assert main(["theory", "--instances", "20", f"--output-dir={tmp_path}"]) != 0
    assert "fails, but holds in docs/theory.md: Lemma 9, always" in capsys.readouterr().out


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_violates_every_statement_about_it(broken: float) -> None:
    one, other = np.array([1.0, broken]), np.array([0.0, 0.0])
    assert excess(one, other) == excess(other, one) == distance(one, other) == np.inf
    assert excess(np.array([1.0]), np.array([0.0])) == 0.0


def test_a_violation_of_nan_is_an_infinite_one() -> None:
    assert largest_violation([0.0, np.nan]) == largest_violation(np.nan) == np.inf
    assert largest_violation([-2.0, -1.0]) == 0.0
    assert largest_violation([-2.0, 0.5]) == 0.5
    finding = Finding.from_violations("Lemma 9", "always", [0.0, np.nan], True)
    assert (finding.failed, finding.largest) == (1, np.inf)


def test_an_iteration_that_does_not_converge_violates_theorem_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: Any, **options: Any) -> Iteration:
        return replace(iterate(*arguments, **options), converged=False)

    monkeypatch.setattr(statements, "iterate", never)
    assert [finding.failed for finding in theorem_1(range(3)) if finding.known] == [3, 3, 3]


def test_an_evaluation_that_returns_nan_violates_lemma_2(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> Any:
        return tuple(np.full_like(value, np.nan) for value in evaluate_policies(*arguments))

    monkeypatch.setattr(statements, "evaluate_policies", broken)
    assert [finding.failed for finding in lemma_2(range(3)) if finding.known] == [3, 3, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bogus", "1"], "unrecognized arguments: --bogus 1; see mipi theory --help"),
        (["12"], "unrecognized arguments: 12"),
        (["--instances"], "--instances: expected one argument"),
        (["--instances", "many"], "--instances: must be a whole number, got 'many'"),
        (["--instances=0"], "--instances must be at least 1"),
        (["--seed=-1"], "--seed must be at least 0"),
        (["--output-dir", "/dev/null/x"], "--output-dir: cannot write to"),
    ],
)
def test_mistakes_end_with_one_message(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
