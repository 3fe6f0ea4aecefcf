"""`mipi report`."""

from __future__ import annotations

from pathlib import Path

from mipi_pl.commands.options import Parser

USAGE = "mipi report RUNS ...                   compare runs: a page with curves, tables and intervals"

_HELP = """\
Compares finished runs: learning curves, win rates by team size and composition, the generalization gap, interquartile
means, the probability of improvement, and what is missing to believe them. Runs that differ in nothing but their seed
are seeds of one algorithm. Writes report.html, which needs nothing else, report.md and its pictures to a new folder."""


def run(arguments: list[str]) -> None:
    """Write a report."""
    parser = Parser("report", _HELP)
    parser.add_argument("runs", metavar="RUNS", type=Path, nargs="+", help="run folders, or folders above them")
    parser.add_argument("--output-dir", type=Path, default=Path("outputs/reports"), help="(default %(default)s)")
    parser.add_argument("--title", default="Report on runs", help="of the page (default: %(default)s)")
    chosen = parser.parse_args(arguments)

    from mipi_pl.reporting.report import make_report

    make_report(chosen.runs, chosen.output_dir, chosen.title)
