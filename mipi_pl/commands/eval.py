"""`mipi eval`: evaluates a checkpoint."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mipi_pl.commands.options import AddParser, add_checkpoint, add_config_dir, add_overrides, checkpoint_of

_DESCRIPTION = """\
Plays greedy episodes, prints a table and writes JSON, CSV and a picture to eval/<time>/ in the run folder, for example
of outputs/latest/checkpoints/last.ckpt.

--absolute evaluates the best checkpoint of a run folder, such as outputs/latest, on ten times the episodes of an
evaluation during training: the absolute metric, which mipi report --marl-eval exports. It takes only output_dir,
threads and held_out.baselines."""


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command; it takes a checkpoint and overrides."""
    parser = add_parser(
        "eval",
        help="evaluate a checkpoint, on other teams with env.team_sizes=[6,7,8,9,10]",
        description=_DESCRIPTION,
        details=_details,
    )
    add_checkpoint(parser, "a file written by mipi train or export, or a policy that comes with the program")
    add_overrides(parser, "see below")
    parser.add_argument("--absolute", action="store_true", help="evaluate the best checkpoint of a run folder")
    add_config_dir(parser)
    parser.set_defaults(run=run)


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
        UserError: if the checkpoint cannot be used, or an override is invalid.
    """
    checkpoint: Path = checkpoint_of(options)

    from mipi_pl.run.absolute import absolute_evaluation
    from mipi_pl.run.evaluate import evaluate_checkpoint
    from mipi_pl.run.own_folder import as_flag

    overrides = [*as_flag(options.config_dir), *options.overrides]
    if options.absolute:
        checkpoint, overrides = absolute_evaluation(checkpoint, overrides)
    evaluate_checkpoint(checkpoint, overrides, absolute=options.absolute)
