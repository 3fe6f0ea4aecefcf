"""The table of `mipi doctor` and `mipi check-env`: a line for each part or check, with its state and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from textwrap import wrap

_WIDTH = 100


class State(Enum):
    """State of a part of the installation."""

    GOOD = "ok"
    ABSENT = "-"
    """The part is optional and not installed."""
    WRONG = "WRONG"


@dataclass(frozen=True)
class Finding:
    """A line of the table.

    Attributes:
        part: name of the part.
        state: state of the part.
        detail: its version and location, or what is wrong.
        advice: what to do; empty if nothing needs to be done.
    """

    part: str
    state: State
    detail: str
    advice: str = ""


def table(findings: Iterable[Finding]) -> str:
    """Format the findings as lines, each followed by its advice."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.state.value:>5}  {finding.part:<18} {finding.detail}".rstrip())
        indent = " " * 26
        if finding.advice:
            lines += wrap(f"-> {finding.advice}", _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}   ",
                          break_long_words=False, break_on_hyphens=False)  # fmt: skip
    return "\n".join(lines)
