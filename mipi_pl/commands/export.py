"""`mipi export`: writes the policy of a checkpoint to a file of its own."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mipi_pl.commands.options import AddParser, add_checkpoint, add_config_dir, add_overrides, checkpoint_of
from mipi_pl.utils.errors import UserError

_DESCRIPTION = """\
Writes the weights of a checkpoint and the config of its run to one safetensors file. mipi eval and mipi watch accept it
in place of a checkpoint. Unlike a checkpoint, it can only refer to classes of this program, so a file from others is
safe to load. A run cannot be resumed from it.

--format pt2 and --format onnx write the greedy policy as a program for deployment, without this package: a function of
entities, visible, action_mask, last_action and state that returns action, scores and new_state. env.capacity=12 gives
the program more agent slots, for policies that act in teams of any size; overrides that do not change the sizes of the
program are refused."""

_FORMATS = ("safetensors", "pt2", "onnx")


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command."""
    summary = "write the policy of a checkpoint to one small file, or as a program for deployment"
    parser = add_parser("export", help=summary, description=_DESCRIPTION)
    add_checkpoint(parser, "a file written by mipi train")
    add_overrides(parser, "see above; for pt2 and onnx")
    parser.add_argument(
        "--format", choices=_FORMATS, help="format of the file (default: that of its suffix, or safetensors)"
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="file to create (default: policy.<format> in the run folder)"
    )
    add_config_dir(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Write the policy of a checkpoint to a file.

    Raises:
        UserError: if the checkpoint cannot be used or exported, or the file exists, has another suffix or cannot be
            written.
    """
    from mipi_pl.run.result_folder import output_parent
    from mipi_pl.storage import run_folder, shipped

    path = shipped.located(checkpoint_of(options))
    suffix = _suffix_of(options)
    target: Path = options.output or output_parent(path) / f"policy{suffix}"
    if target.suffix != suffix:
        ending = suffix if options.format else ", ".join(f".{name}" for name in _FORMATS)
        raise UserError(f"the name of the file must end in {ending}, got {target}")
    if target.exists():
        raise UserError(f"{target} exists already; name another file: --output FILE{suffix}")
    try:
        _write(path, target, options)
    except OSError as error:
        raise UserError(
            f"cannot write {target} ({error.strerror or error}); name another file: --output FILE"
        ) from error
    print(f"policy     {run_folder.shown(target)} ({target.stat().st_size / 1000:,.0f} kB)")


def _suffix_of(options: Namespace) -> str:
    """Return the suffix of the file: that of --format, or else of --output if it is one of the formats."""
    if options.format is not None:
        return f".{options.format}"
    named = None if options.output is None else options.output.suffix
    return named if named in (".pt2", ".onnx") else f".{_FORMATS[0]}"


def _write(path: Path, target: Path, options: Namespace) -> None:
    from mipi_pl.run.own_folder import as_flag, existing
    from mipi_pl.storage import weights

    if target.suffix != weights.SUFFIX:
        from mipi_pl.run.deployment import export

        export(path, target, [*as_flag(options.config_dir), *options.overrides])
        return
    existing(options.config_dir)  # which is not used: weights and config are copied without its modules
    if options.overrides:
        raise UserError(f"overrides are for --format pt2 and onnx, got {' '.join(options.overrides)}")
    from mipi_pl.storage.checkpoint_file import RECORD, read_checkpoint

    content, _ = read_checkpoint(path)
    weights.write(target, content["state_dict"], content[RECORD])
