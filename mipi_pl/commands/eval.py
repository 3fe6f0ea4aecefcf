"""`mipi eval`."""

from __future__ import annotations

from pathlib import Path

from mipi_pl.utils.errors import UserError

USAGE = """\
mipi eval CHECKPOINT [key=value ...]   evaluate; other teams: env.team_sizes=[6,7,8,9,10]
mipi eval --help                       keys"""

_HELP = """\
mipi eval CHECKPOINT [key=value ...]

Plays greedy episodes and writes table, JSON, CSV and picture to eval/<time>/ in
the run folder. CHECKPOINT is a file that mipi train or mipi export wrote, such as
outputs/latest/checkpoints/last.ckpt, or a policy that comes with the program:
{shipped}. Keys and their meaning:
"""


def run(arguments: list[str]) -> None:
    """Evaluate a checkpoint; the keys behind it are those of configs/eval.yaml and of the environment."""
    if not arguments:
        raise UserError("the checkpoint is missing; see mipi eval --help")
    if arguments[0] in ("--help", "-h"):
        from importlib.resources import files

        from mipi_pl.storage.weights import shipped

        help_text = _HELP.format(shipped=", ".join(shipped()))
        print(help_text + files("configs").joinpath("eval.yaml").read_text(encoding="utf-8"))
        return
    path, *overrides = arguments
    if "=" in path and not Path(path).exists():
        raise UserError(f"the first argument must be a checkpoint file, got {path!r}; see mipi eval --help")

    from mipi_pl.run.evaluate import evaluate_checkpoint

    evaluate_checkpoint(Path(path), overrides)
