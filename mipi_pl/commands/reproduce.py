"""`mipi reproduce`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mipi_pl.commands.options import AddParser, arguments_of, whole_number
from mipi_pl.reproduction.plan import SCALES, TARGETS

_DESCRIPTION = """\
Runs what a table or figure of the paper takes (tasks x algorithms x seeds) and prints the paper's numbers beside ours:
cell by cell, with the difference, and whether the order of the algorithms holds. Runs that are done are not repeated,
runs that were cut go on, and tables share runs; so the same command may be given again at any time. --dry-run shows
what would be done. Words like key=value change all runs, as in mipi train. The targets `ablations` and
`ablations_ppo` are not of the paper: they change one thing at a time in the protocol of scale cpu, in MIPI and in
MIPI-PPO."""


def declare(add_parser: AddParser) -> None:
    """A target, overrides and options."""
    summary = "repeat a table or figure of the paper and compare the numbers"
    parser = add_parser("reproduce", help=summary, description=_DESCRIPTION)
    parser.add_argument("target", metavar="TARGET", choices=TARGETS, help=", ".join(TARGETS))
    parser.add_argument("overrides", metavar="key=value", nargs="*", default=(), help="for all runs")
    parser.add_argument("--scale", choices=SCALES, default="smoke", help="(default %(default)s)")
    parser.add_argument("--seeds", type=whole_number, nargs="+", help="instead of the scale's")
    parser.add_argument("--tasks", nargs="+", help="of the table, instead of all of them, such as SZ")
    parser.add_argument("--methods", nargs="+", help="of the table, instead of all of them, such as MIPI REFIL")
    parser.add_argument("--jobs", type=whole_number, default=1, help="runs at a time (default %(default)s)")
    parser.add_argument("--output-dir", type=Path, default=Path("outputs/reproduce"), help="(default %(default)s)")
    parser.add_argument("--launcher", choices=("joblib", "submitit_local", "submitit_slurm"), help="of Hydra")
    parser.add_argument("--launcher-options", metavar="key=value", nargs="+", default=[], help="such as partition=gpu")
    parser.add_argument("--retry-failed", action="store_true", help="go on with failed runs too")
    parser.add_argument("--dry-run", action="store_true", help="show the commands")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Reproduce a table or a figure."""
    from mipi_pl.reproduction.reproduce import Options, reproduce

    reproduce(Options(**arguments_of(options)))
