"""Sides of a comparison, each a process of its own, that work in turns: load on the machine falls on all of them.

A side is a script that makes itself ready, waits for its turn (`my_turn`), works, reports (`report`) and waits again.
Nothing else of it reaches the standard output, so that libraries may print what they like.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

Report = dict[str, float]

_GO = "go\n"


class Side:
    """The process of one side, seen from the script that compares.

    Args:
        name: of the side.
        script: Python file of this folder.
        arguments: of the script.
        folders: put in front of its module search path.
        python: runs it; a peer whose needs conflict with ours has its own.
    """

    def __init__(
        self,
        name: str,
        script: str,
        arguments: Sequence[object],
        folders: Sequence[Path] = (),
        python: Path | str = sys.executable,
    ) -> None:
        self.name = name
        path = os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name(script)), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def turn(self) -> Report:
        """Let it work once and wait for the report.

        Raises:
            RuntimeError: if the process has ended; it says why on the standard error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(_GO)
            self._process.stdin.flush()
        except BrokenPipeError:
            line = ""
        else:
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with exit code {self._process.wait()}; its messages stand above")
        found: Report = json.loads(line)
        return found

    def end(self) -> None:
        """Send it home."""
        self._process.communicate()


def take_turns(sides: Sequence[Side], repeats: int) -> dict[str, list[Report]]:
    """Reports of `repeats` turns of each side, by name; a turn more comes first, for warming up.

    Each side is warmed up alone, so that none is made ready while another one is measured.
    """
    try:
        for side in sides:
            side.turn()
        rounds = [{side.name: side.turn() for side in sides} for _ in range(repeats)]
    finally:
        for side in sides:
            side.end()
    return {side.name: [turns[side.name] for turns in rounds] for side in sides}


# ---------------------------------------------------------------------- from inside a side


def claim_output() -> TextIO:
    """The standard output, for reports; from now on other prints of this process go to the standard error."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return output


def processor_seconds() -> float:
    """Of this process and of the living processes that it has started, since their beginning (Linux)."""
    own = Path("/proc/self/task")
    children = {pid for task in own.iterdir() for pid in (task / "children").read_text().split()}
    spent = 0
    for pid in ("self", *children):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        spent += int(fields[11]) + int(fields[12])  # in user and in kernel mode
    return spent / os.sysconf("SC_CLK_TCK")


def my_turn() -> bool:
    """Wait; False when there are no more turns."""
    return sys.stdin.readline() == _GO


def report(output: TextIO, found: Mapping[str, Any]) -> None:
    """The end of a turn."""
    output.write(json.dumps(found) + "\n")
    output.flush()
