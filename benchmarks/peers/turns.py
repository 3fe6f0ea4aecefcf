"""Processes that take turns in a comparison, so that other load on the machine affects all sides alike.

A side is a script that prepares its work, waits for its turn (`my_turn`), works, reports (`report`) and waits again.
Its standard output carries only reports; everything that libraries print goes to the standard error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

Report = dict[str, Any]

_GO = "go\n"


class Side:
    """Handle of the comparing script to the process of one side.

    Args:
        name: name of the side.
        script: Python file in this folder.
        arguments: arguments of the script.
        folders: folders to prepend to its module search path.
        python: interpreter; a peer whose requirements conflict with ours has its own.
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
        """Let the side work for one turn, and return its report.

        Raises:
            RuntimeError: if the process has ended; its standard error has the reason.
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
            raise RuntimeError(
                f"expected a report of {self.name}, but its process ended with exit code {self._process.wait()}: "
                "see its messages above"
            )
        figures: Report = json.loads(line)
        return figures

    def end(self) -> None:
        """Let the process exit, and wait for it."""
        self._process.communicate()


def take_turns(sides: Sequence[Side], repeats: int) -> dict[str, list[Report]]:
    """Returns the reports of `repeats` turns of each side, by name.

    One more turn comes first, as a warm-up. The sides warm up one after the other before any of them is measured.
    """
    try:
        for side in sides:
            side.turn()
        rounds = [{side.name: side.turn() for side in sides} for _ in range(repeats)]
    finally:
        for side in sides:
            side.end()
    return {side.name: [turns[side.name] for turns in rounds] for side in sides}


# ---------------------------------------------------------------------- called inside a side


def claim_output() -> TextIO:
    """Returns the standard output for reports, and redirects all other output of the process to the standard error."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return output


def processor_seconds() -> float:
    """Returns the processor seconds of this process and its living children since they started (Linux)."""
    own = Path("/proc/self/task")
    children = {pid for task in own.iterdir() for pid in (task / "children").read_text().split()}
    spent = 0
    for pid in ("self", *children):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        spent += int(fields[11]) + int(fields[12])  # user and kernel mode
    return spent / os.sysconf("SC_CLK_TCK")


def my_turn() -> bool:
    """Wait for the next turn; returns False if there are no more."""
    return sys.stdin.readline() == _GO


def report(output: TextIO, figures: Mapping[str, Any]) -> None:
    """End a turn by writing its figures to the comparing script."""
    output.write(json.dumps(figures) + "\n")
    output.flush()
