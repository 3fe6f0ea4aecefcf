"""`mipi report`: compares finished runs."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mipi_pl.commands.options import AddParser

_DESCRIPTION = """\
Compares finished runs: learning curves, win rates by team size and composition, the generalization gap, interquartile
means, performance profiles, the probability of improvement, and what is missing for reliable conclusions. Runs that
differ only in their seed count as seeds of one algorithm. Writes a self-contained report.html, and report.md with its
pictures, to a new folder.

WHICH is a folder, an algorithm, an environment, a label of the report, a run such as sz__mipi__0, a state such as
failed, or debug for the runs of a debug config; * stands for any text."""


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command."""
    summary = "compare runs in a page with curves, tables and intervals"
    parser = add_parser("report", help=summary, description=_DESCRIPTION)
    parser.add_argument("runs", metavar="RUNS", type=Path, nargs="+", help="run folders, or folders above them")
    parser.add_argument("--output-dir", type=Path, default=Path("outputs/reports"), help="(default: %(default)s)")
    parser.add_argument("--title", default="Report on runs", help="title of the page (default: %(default)s)")
    parser.add_argument(
        "--label", metavar="WHICH=LABEL", action="append", default=[], help="label runs; may be given several times"
    )
    parser.add_argument(
        "--exclude", metavar="WHICH", action="append", default=[], help="leave runs out; may be given several times"
    )
    parser.add_argument("--marl-eval", metavar="FILE", type=Path, help="also write the scores as JSON for marl-eval")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Write a report."""
    from mipi_pl.reporting.report import make_report

    make_report(options.runs, options.output_dir, options.title, options.label, options.exclude, options.marl_eval)
