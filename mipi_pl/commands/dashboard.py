"""`mipi dashboard`."""

from __future__ import annotations

from pathlib import Path

from mipi_pl.commands.options import Parser
from mipi_pl.utils.errors import FailedError, UserError

USAGE = "mipi dashboard                         make the W&B workspace of the project"

_HELP = """\
Makes a workspace in Weights & Biases: win rates by team size while learning and at the end, with one line for each
algorithm (the mean over its runs, with the standard error), losses, policies, speed. Writes its definition to
dashboard.json; without a key that is all it does. Needs: pip install 'mipi-pl[dashboard]'"""


def run(arguments: list[str]) -> None:
    """Write the definition and, where there is a key, save it.

    Raises:
        UserError: if wandb-workspaces is missing, or the file cannot be written.
        FailedError: if W&B refuses it or cannot be reached.
    """
    parser = Parser("dashboard", _HELP)
    parser.add_argument("--project", default="mipi", help="in which the runs are (default %(default)s)")
    parser.add_argument("--entity", help="user or team (default: that of the key)")
    parser.add_argument("--name", default="Dynamic teams", help="of the workspace (default %(default)s)")
    parser.add_argument("--held-out", nargs="+", default=["6", "7", "8"], help="evaluations (default %(default)s)")
    parser.add_argument("--measure", choices=("win_rate", "return"), default="win_rate", help="(default %(default)s)")
    parser.add_argument("--group", help="runs of this experiment alone (default: all)")
    parser.add_argument("--output-dir", type=Path, default=Path("outputs"), help="(default %(default)s)")
    chosen = vars(parser.parse_args(arguments))
    folder, entity = chosen.pop("output_dir"), chosen.pop("entity")

    try:
        from mipi_pl.logging.dashboard import Dashboard
    except ImportError as error:
        raise UserError(f"mipi dashboard needs wandb-workspaces ({error}): pip install 'mipi-pl[dashboard]'") from error
    from mipi_pl.logging.wandb import default_entity
    from mipi_pl.logging.wandb_access import has_key
    from mipi_pl.storage.files import write_json
    from mipi_pl.storage.run_folder import shown

    known = has_key()
    dashboard = Dashboard(entity or (default_entity() if known else "ENTITY"), **chosen)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "dashboard.json", dashboard.definition())
    except OSError as error:
        raise UserError(f"--output-dir: cannot write to {folder} ({error.strerror})") from error
    panels = sum(len(section.panels) for section in dashboard.workspace().sections)
    print(f"definition {shown(folder / 'dashboard.json')}: {panels} panels")
    if not known:
        print("no key of W&B, so nothing was sent: set WANDB_API_KEY or run `wandb login`, then run this again")
        return
    try:
        print(f"workspace  {dashboard.workspace().save().url}")
    except Exception as error:  # of many kinds: requests', wandb's, wandb-workspaces' own
        raise FailedError(f"W&B did not take the workspace ({error})") from error
