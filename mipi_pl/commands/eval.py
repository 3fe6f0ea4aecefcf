"""`mipi eval`: evaluates a checkpoint."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mipi_pl.commands.options import AddParser
from mipi_pl.run.config_files import CONFIG_DIR
from mipi_pl.utils.errors import UserError

_DESCRIPTION = """\
Plays greedy episodes, prints a table and writes JSON, CSV and a picture to eval/<time>/ in the run folder. CHECKPOINT
is a file written by mipi train or mipi export, such as outputs/latest/checkpoints/last.ckpt, or the name of a policy
that comes with the program. --config-dir FOLDER names the folder of your own modules that the run was trained with.

--absolute evaluates the best checkpoint of a run folder, such as outputs/latest, on ten times the episodes of an
evaluation during training: the absolute metric, which mipi report --marl-eval exports. It takes only output_dir,
threads and held_out.baselines."""


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command; it takes a checkpoint and overrides."""
    add_parser(
        "eval",
        help="evaluate a checkpoint, on other teams with env.team_sizes=[6,7,8,9,10]",
        description=_DESCRIPTION,
        usage="%(prog)s CHECKPOINT [--absolute] [--config-dir FOLDER] [key=value ...]",
        details=_details,
        raw=True,
        flags=("--absolute", *CONFIG_DIR),
    ).set_defaults(run=run)


def _details() -> str:
    from mipi_pl.run.config_files import read
    from mipi_pl.run.help import indented
    from mipi_pl.storage import shipped

    config = read("eval.yaml")
    keys = (f"  {key}\n{indented(meaning)}" for key, meaning in config.meanings.items())
    policies = indented(", ".join(shipped.names()))
    return "\n".join(
        ["", "Policies that come with the program:", policies, "", indented(config.meaning, 0), "", *keys, ""]
    )


def run(options: Namespace) -> None:
    """Evaluate a checkpoint; the overrides are keys of configs/eval.yaml and of the environment.

    Raises:
        UserError: if the checkpoint is missing or cannot be used, or an override is invalid.
    """
    is_absolute = "--absolute" in options.words
    words = [word for word in options.words if word != "--absolute"]
    if not words:
        raise UserError("the checkpoint is missing; see mipi eval --help")
    path, *overrides = words
    if ("=" in path or path.startswith("-")) and not Path(path).exists():
        raise UserError(f"the first argument must be a checkpoint file, got {path!r}; see mipi eval --help")

    from mipi_pl.run.absolute import absolute_evaluation
    from mipi_pl.run.evaluate import evaluate_checkpoint

    checkpoint = Path(path)
    if is_absolute:
        checkpoint, overrides = absolute_evaluation(checkpoint, overrides)
    evaluate_checkpoint(checkpoint, overrides, absolute=is_absolute)
