"""`mipi train`."""

from __future__ import annotations

USAGE = """\
mipi train [key=value ...]             train; for a first run: mipi train experiment=quickstart
mipi train -m seed=0,1,2 [...]         several runs, one after the other
mipi train --cfg job [...]             show the config without training
mipi train --help                      choices and keys"""


def run(arguments: list[str]) -> None:
    """Train; everything behind the command is Hydra's."""
    from mipi_pl.run.compose import launch

    launch(arguments)
