"""`mipi eval`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mipi_pl.commands.options import AddParser
from mipi_pl.utils.errors import UserError

_DESCRIPTION = """\
Plays greedy episodes and writes table, JSON, CSV and picture to eval/<time>/ in the run folder. CHECKPOINT is a file
that mipi train or mipi export wrote, such as outputs/latest/checkpoints/last.ckpt, or a policy that comes with the
program."""


def declare(add_parser: AddParser) -> None:
    """A checkpoint and overrides."""
    add_parser(
        "eval",
        help="evaluate a checkpoint; on other teams: env.team_sizes=[6,7,8,9,10]",
        description=_DESCRIPTION,
        usage="%(prog)s CHECKPOINT [key=value ...]",
        details=_details,
        raw=True,
    ).set_defaults(run=run)


def _details() -> str:
    from importlib.resources import files

    from mipi_pl.storage.weights import shipped  # PyTorch comes with it

    keys = files("configs").joinpath("eval.yaml").read_text(encoding="utf-8")
    return f"\nPolicies that come with the program: {', '.join(shipped())}\n\nKeys and their meaning:\n{keys}"


def run(options: Namespace) -> None:
    """Evaluate a checkpoint; the keys behind it are those of configs/eval.yaml and of the environment."""
    if not options.words:
        raise UserError("the checkpoint is missing; see mipi eval --help")
    path, *overrides = options.words
    if "=" in path and not Path(path).exists():
        raise UserError(f"the first argument must be a checkpoint file, got {path!r}; see mipi eval --help")

    from mipi_pl.run.evaluate import evaluate_checkpoint

    evaluate_checkpoint(Path(path), overrides)
