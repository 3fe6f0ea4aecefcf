"""`mipi dashboard`: creates the Weights & Biases workspace of a project."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from mipi_pl.commands.options import AddParser, arguments_of
from mipi_pl.utils.errors import FailedError, UserError
from mipi_pl.utils.extras import how_to_install

if TYPE_CHECKING:
    from mipi_pl.logging.dashboard import Dashboard

_DESCRIPTION = """\
Creates a workspace in Weights & Biases with win rates by team size during training and at the end (one line per
algorithm: the mean over its runs, with the standard error), losses, policies and speed. Writes the definition of the
workspace to dashboard.json; without an API key, or with WANDB_MODE=offline or disabled, only this file is written.
Needs the extra `dashboard`."""


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command."""
    parser = add_parser("dashboard", help="create the W&B workspace of a project", description=_DESCRIPTION)
    parser.add_argument("--project", default="mipi", help="project of the runs (default: %(default)s)")
    parser.add_argument("--entity", help="user or team (default: the entity of the API key)")
    parser.add_argument("--name", default="Dynamic teams", help="name of the workspace (default: %(default)s)")
    parser.add_argument("--held-out", nargs="+", default=["6", "7", "8"], help="evaluations (default: 6 7 8)")
    parser.add_argument("--measure", choices=("win_rate", "return"), default="win_rate", help="(default: %(default)s)")
    parser.add_argument("--group", metavar="EXPERIMENT", help="show only runs of this experiment (default: all)")
    parser.add_argument("--output-dir", type=Path, default=Path("outputs"), help="(default: %(default)s)")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Write the definition and, if there is an API key and WANDB_MODE allows it, save the workspace in W&B.

    Raises:
        UserError: if wandb-workspaces is missing, WANDB_MODE is unknown, or the file cannot be written.
        FailedError: if W&B rejects the workspace or cannot be reached.
    """
    try:
        from mipi_pl.logging.dashboard import Dashboard
    except ImportError as error:
        raise UserError(f"mipi dashboard needs wandb-workspaces ({error}): {how_to_install('dashboard')}") from error
    from mipi_pl.logging.wandb import default_entity
    from mipi_pl.logging.wandb_access import check_mode

    try:
        check_mode()
    except ValueError as error:
        raise UserError(str(error)) from error
    arguments = arguments_of(options)
    folder, entity = arguments.pop("output_dir"), arguments.pop("entity")
    unsent = _why_unsent()
    dashboard = Dashboard(entity or ("ENTITY" if unsent else default_entity()), **arguments)
    _write(dashboard, folder)
    if unsent:
        print(unsent)
        return
    try:
        print(f"workspace  {dashboard.workspace().save().url}")
    except Exception as error:  # requests, wandb and wandb-workspaces raise errors of many types
        raise FailedError(f"W&B did not save the workspace ({error})") from error


def _why_unsent() -> str | None:
    """Return why nothing is sent and what to do, or None if the workspace is to be saved."""
    from mipi_pl.logging.wandb_access import has_key, silent_mode

    if (mode := silent_mode()) is not None:
        return f"WANDB_MODE={mode}, so nothing was sent: unset WANDB_MODE, then run this again"
    if not has_key():
        return "no W&B API key, so nothing was sent: set WANDB_API_KEY or run `wandb login`, then run this again"
    return None


def _write(dashboard: Dashboard, folder: Path) -> None:
    from mipi_pl.storage.files import write_json
    from mipi_pl.storage.run_folder import shown

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "dashboard.json", dashboard.definition())
    except OSError as error:
        raise UserError(f"--output-dir: cannot write to {folder} ({error.strerror})") from error
    panels = sum(len(section.panels) for section in dashboard.workspace().sections)
    print(f"definition {shown(folder / 'dashboard.json')}: {panels} panels")
