"""`mipi export`: writes the policy of a checkpoint to a safetensors file."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mipi_pl.commands.options import AddParser
from mipi_pl.utils.errors import UserError

_DESCRIPTION = """\
Writes the weights of a checkpoint and the config of its run to one safetensors file. mipi eval and mipi watch accept it
in place of a checkpoint. Unlike a checkpoint, it can only refer to classes of this program, so a file from others is
safe to load. A run cannot be resumed from it."""


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command."""
    summary = "write the policy of a checkpoint to one small safetensors file"
    parser = add_parser("export", help=summary, description=_DESCRIPTION)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="a file written by mipi train")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="file to create (default: policy.safetensors in the run folder)"
    )
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Write the weights of a checkpoint to a file.

    Raises:
        UserError: if the checkpoint cannot be used, or the file exists, has another suffix or cannot be written.
    """
    from mipi_pl.run.evaluate import output_parent
    from mipi_pl.storage import run_folder, weights
    from mipi_pl.storage.checkpoint_file import RECORD, read_checkpoint

    path = weights.located(options.checkpoint)
    content, _ = read_checkpoint(path)
    target: Path = options.output or output_parent(path) / f"policy{weights.SUFFIX}"
    if target.suffix != weights.SUFFIX:
        raise UserError(f"the name of the file must end in {weights.SUFFIX}, got {target}")
    if target.exists():
        raise UserError(f"{target} exists already; name another file: --output FILE{weights.SUFFIX}")
    try:
        weights.write(target, content["state_dict"], content[RECORD])
    except OSError as error:
        raise UserError(
            f"cannot write {target} ({error.strerror or error}); name another file: --output FILE"
        ) from error
    print(f"policy     {run_folder.shown(target)} ({target.stat().st_size / 1000:,.0f} kB)")
