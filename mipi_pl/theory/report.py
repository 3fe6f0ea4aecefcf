"""Command `mipi theory`: checks all statements of sections 4.2 and 4.3 of the paper on random processes."""

from __future__ import annotations

import csv
import dataclasses
import json
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mipi_pl.evaluation.tables import text_table
from mipi_pl.storage.files import replacing
from mipi_pl.theory.convergence import draw_convergence
from mipi_pl.theory.counterexamples import Counterexample, counterexamples
from mipi_pl.theory.findings import Finding
from mipi_pl.theory.statements import lemma_1, lemma_2, theorem_1
from mipi_pl.theory.statements_alternation import following_marginal, theorem_2
from mipi_pl.utils.checks import require

WIDTH = 80


@dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        instances: number of random processes for each statement.
        seed: seed of the first process; the others use the following seeds.
        output_dir: folder for the files.

    Raises:
        ValueError: if a number is out of range.
    """

    instances: int = 100
    seed: int = 0
    output_dir: Path = Path("outputs/theory")

    def __post_init__(self) -> None:
        require("--instances", self.instances, 1, 100_000)
        require("--seed", self.seed, 0, 2**31)


def run(options: Options, say: Callable[[str], None] = print) -> bool:
    """Check all statements and write statements.csv, counterexamples.json and convergence.png.

    Args:
        options: options of the command.
        say: prints a message to the user.

    Returns:
        Whether every statement that holds according to docs/theory.md holds in all processes. A statement that fails
        there may hold in all of a few processes; a line then says so.

    Raises:
        OSError: if a file cannot be written.
    """
    options.output_dir.mkdir(parents=True, exist_ok=True)
    seeds = range(options.seed, options.seed + options.instances)
    say(f"{options.instances} random processes for each statement, seeds from {options.seed}\n")
    findings = check_all(seeds)
    say(table(findings))
    examples = counterexamples()
    say("\nCounterexamples, each the worst of a small grid of games (discount 1/2)\n")
    say(as_text(examples))
    _write_csv(options.output_dir / "statements.csv", findings)
    with replacing(options.output_dir / "counterexamples.json") as path:
        content = json.dumps([dataclasses.asdict(example) for example in examples], indent=2)
        path.write_text(content + "\n", encoding="utf-8")
    draw_convergence(options.output_dir / "convergence.png", options.seed)
    say("")
    for label, name in (("table", "statements.csv"), ("games", "counterexamples.json"), ("picture", "convergence.png")):
        say(f"{label:<10} {options.output_dir / name}")
    refuted = [finding for finding in findings if finding.known and not finding.holds]
    for finding in refuted:
        say(f"fails, but holds in docs/theory.md: {finding.statement}, {finding.checked}")
    for finding in findings:
        if finding.holds and not finding.known:
            say(
                f"no counterexample among instances, {options.instances} in all: {finding.statement}, {finding.checked}"
            )
    return not refuted


def check_all(seeds: range) -> list[Finding]:
    """Check every statement on one random instance per seed."""
    return [*lemma_1(seeds), *lemma_2(seeds), *theorem_1(seeds), *theorem_2(seeds), following_marginal(seeds)]


def table(findings: Sequence[Finding]) -> str:
    """Format a table with a row per finding, at most 80 columns wide."""
    rows = [
        [
            f"{finding.statement:<17} {finding.checked}",
            f"{finding.failed}/{finding.instances}",
            "0" if finding.largest == 0 else f"{finding.largest:.0e}",
            finding.verdict,
        ]
        for finding in findings
    ]
    return text_table([f"{'statement':<17} what was checked", "failed", "by", "verdict"], rows)


def as_text(examples: Sequence[Counterexample]) -> str:
    """Format a paragraph per counterexample, at most 80 columns wide."""
    paragraphs = []
    for example in examples:
        text = f"{example.game}: {example.seen}."
        lines = textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")
        paragraphs.append("\n".join([example.statement, *lines]))
    return "\n".join(paragraphs)


def _write_csv(path: Path, findings: Sequence[Finding]) -> None:
    fields = [field.name for field in dataclasses.fields(Finding) if field.name != "known"]
    with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*fields, "verdict"])
        for finding in findings:
            writer.writerow([*(getattr(finding, field) for field in fields), finding.verdict])
