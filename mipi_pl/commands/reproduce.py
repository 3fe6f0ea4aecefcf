"""`mipi reproduce`: reproduces a table or figure of the paper."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mipi_pl.commands.options import AddParser, add_overrides, arguments_of, whole_number
from mipi_pl.reproduction.plan import SCALES, TARGETS

_DESCRIPTION = """\
Runs the experiments of a table or figure of the paper (tasks x algorithms x seeds) and compares the results with the
paper's numbers cell by cell, with the difference and whether the order of the algorithms holds. Finished runs are not
repeated, interrupted runs are resumed, and tables share runs, so the same command can be repeated at any time.
--dry-run shows what would be done. Arguments key=value change all runs, as in mipi train; what the methods differ in
cannot be changed. MIPI-PPO is not in the paper, and neither are four targets: `prices` varies alpha in MIPI-PPO;
`mixes` holds out half of the compositions of 3-5; `ablations` and `ablations_ppo` change one thing at a time in the
protocol of scale cpu, in MIPI and in MIPI-PPO."""


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command."""
    summary = "reproduce a table or figure of the paper and compare the numbers"
    parser = add_parser("reproduce", help=summary, description=_DESCRIPTION)
    parser.add_argument("target", metavar="TARGET", choices=TARGETS, help=", ".join(TARGETS))
    add_overrides(parser, "overrides for all runs")
    parser.add_argument("--scale", choices=SCALES, default="smoke", help="(default: %(default)s)")
    parser.add_argument("--seeds", type=whole_number, nargs="+", help="seeds, instead of those of the scale")
    parser.add_argument("--tasks", nargs="+", help="tasks of the table, such as SZ (default: all)")
    parser.add_argument("--methods", nargs="+", help="methods of the table, such as MIPI REFIL (default: all)")
    parser.add_argument("--jobs", type=whole_number, default=1, help="number of runs at a time (default: %(default)s)")
    parser.add_argument("--output-dir", type=Path, default=Path("outputs/reproduce"), help="(default: %(default)s)")
    parser.add_argument("--launcher", choices=("joblib", "submitit_local", "submitit_slurm"), help="Hydra launcher")
    parser.add_argument(
        "--launcher-options",
        metavar="key=value",
        nargs="+",
        default=[],
        help="options of the launcher, such as partition=gpu",
    )
    parser.add_argument("--retry-failed", action="store_true", help="also retry failed runs")
    parser.add_argument("--dry-run", action="store_true", help="show the commands without running them")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Reproduce a table or a figure."""
    from mipi_pl.reproduction.reproduce import Options, reproduce

    reproduce(Options(**arguments_of(options)))
