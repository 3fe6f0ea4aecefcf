"""The `mipi` command. A mistake of the user ends with one message and exit code 2, Ctrl-C with 130."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

_HELP = """\
mipi: train agents that cooperate in teams they have never seen

  mipi train [key=value ...]             train; for a first run: mipi train experiment=quickstart
  mipi train -m seed=0,1,2 [...]         several runs, one after the other
  mipi train --cfg job [...]             show the config without training
  mipi resume RUN_FOLDER                 go on with a run that was interrupted, such as outputs/latest
  mipi eval CHECKPOINT [key=value ...]   evaluate; other teams: env.team_sizes=[6,7,8,9,10]
  mipi theory                            check the paper's lemmas and theorems on random processes
  mipi train --help, mipi eval --help    choices and keys
  mipi --version

Every run writes to its own folder below outputs/; outputs/latest is the newest."""

_EVAL_HELP = """\
mipi eval CHECKPOINT [key=value ...]

Plays greedy episodes and writes table, JSON, CSV and picture to eval/<time>/ in the run folder. CHECKPOINT is a file
that mipi train wrote, such as outputs/latest/checkpoints/last.ckpt. Keys and their meaning:
"""

_RESUME_HELP = """\
mipi resume RUN_FOLDER

Goes on with a run that was stopped or killed, from its newest whole checkpoint, in its own folder and with its own
config, and ends as it would have ended without the interruption. RUN_FOLDER is such as outputs/latest."""

_THEORY_HELP = """\
mipi theory [--instances N] [--seed N] [--output-dir FOLDER]

Checks lemmas 1 and 2 and theorems 1 and 2 of the paper exactly, on random processes with 1-3 agents, and shows where
a statement needs a condition that the paper does not state. Prints a table and writes statements.csv,
counterexamples.json and convergence.png.

  --instances N         random processes for each statement (100)
  --seed N              of the first one; the others follow (0)
  --output-dir FOLDER   for the files (outputs/theory)"""

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; what the console script `mipi` calls.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command, *rest = arguments or ["--help"]
    if command in ("--help", "-h", "help"):
        print(_HELP)
        return OK
    if command == "--version":
        print(f"mipi {version('mipi-pl')}")
        return OK
    commands: dict[str, Callable[[list[str]], int]] = {
        "train": _train,
        "resume": _resume,
        "eval": _eval,
        "theory": _theory,
    }
    if command not in commands:
        return _complain(f"unknown command {command!r}; there are: {', '.join(commands)}; see mipi --help")
    try:
        return commands[command](rest)
    except BrokenPipeError:
        # The reader, such as `head`, has gone. Nothing may be written any more, not even by Python's own clean-up.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt as interrupt:
        if _process() == 0:
            print(f"\n{interrupt or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED


def _train(overrides: list[str]) -> int:
    # Heavy imports wait until it is known that they are needed: `mipi --help` answers at once.
    from mipi_pl.config import UserError
    from mipi_pl.fitting import FailedError
    from mipi_pl.launch import launch

    try:
        launch(overrides)
    except UserError as error:
        return _complain(error)
    except FailedError as error:
        return _complain(error, FAILED)
    except SystemExit as end:  # Hydra's way to end after --help, and after a job of a multirun that failed
        return end.code if isinstance(end.code, int) else OK
    return OK


def _resume(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] in ("--help", "-h"):
        print(_RESUME_HELP)
        return OK if arguments in (["--help"], ["-h"]) else USAGE
    from mipi_pl.config import UserError
    from mipi_pl.fitting import FailedError
    from mipi_pl.resume import resume

    try:
        resume(Path(arguments[0]))
    except UserError as error:
        return _complain(error)
    except FailedError as error:
        return _complain(error, FAILED)
    return OK


def _eval(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("--help", "-h"):
        from importlib.resources import files

        print(_EVAL_HELP + files("configs").joinpath("eval.yaml").read_text(encoding="utf-8"))
        return OK if arguments else USAGE
    from mipi_pl.config import UserError
    from mipi_pl.evaluator import evaluate_checkpoint

    path, *overrides = arguments
    if "=" in path and not Path(path).exists():
        return _complain(f"the first argument must be a checkpoint file, got {path!r}; see mipi eval --help")
    try:
        evaluate_checkpoint(Path(path), overrides)
    except UserError as error:
        return _complain(error)
    return OK


def _theory(arguments: list[str]) -> int:
    if arguments in (["--help"], ["-h"]):
        print(_THEORY_HELP)
        return OK
    from mipi_pl.theory.report import Options, run

    try:
        chosen = _theory_options(arguments)
        return OK if run(Options(**chosen)) else FAILED
    except ValueError as error:
        return _complain(f"{error}; see mipi theory --help")
    except OSError as error:
        return _complain(f"--output-dir: cannot write to {error.filename} ({error.strerror})")


def _theory_options(arguments: list[str]) -> dict[str, Any]:
    kinds: dict[str, type] = {"--instances": int, "--seed": int, "--output-dir": Path}
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--") else [word])]
    chosen: dict[str, Any] = {}
    for name, value in zip_longest(words[::2], words[1::2]):
        if name not in kinds:
            raise ValueError(f"unknown option {name!r}; there are: {', '.join(kinds)}")
        if value is None:
            raise ValueError(f"{name} needs a value")
        try:
            chosen[name.removeprefix("--").replace("-", "_")] = kinds[name](value)
        except ValueError:
            raise ValueError(f"{name} must be a whole number, got {value!r}") from None
    return chosen


def _complain(message: str | Exception, code: int = USAGE) -> int:
    # What ends all processes of a run is told by the first.
    if _process() > 0 and (code == FAILED or getattr(message, "told", False)):
        return code
    # Libraries write their messages in several lines.
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    who = f"mipi (process {_process()})" if _process() > 0 else "mipi"
    print(f"{who}: {'; '.join(lines)}", file=sys.stderr)
    return code


def _process() -> int:
    # Where no processes were connected, PyTorch may not even have been imported.
    return sys.modules["mipi_pl.ranks"].rank() if "mipi_pl.ranks" in sys.modules else 0


if __name__ == "__main__":
    sys.exit(main())
