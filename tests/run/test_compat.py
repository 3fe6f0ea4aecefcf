"""What the program does with private parts of Lightning, as seen from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.strategies import DDPStrategy

from mipi_pl.callbacks.progress import Progress
from mipi_pl.logging.csv import ResumableCSVLogger
from mipi_pl.utils.compat import ScriptLauncher, attach, leave_alone

QUIET = {"accelerator": "cpu", "devices": 1, "enable_checkpointing": False, "enable_model_summary": False}


def both(tmp_path: Path, callbacks: list[Any], **node: Any) -> tuple[Trainer, Trainer]:
    """A Trainer that is given callbacks and loggers when it is made, and one that is given them later."""
    options = {**QUIET, **node}
    loggers = [ResumableCSVLogger(str(tmp_path))]
    whole = Trainer(**options, callbacks=list(callbacks), logger=loggers, default_root_dir=str(tmp_path))
    later = Trainer(**options, callbacks=[], logger=False)
    attach(later, options, callbacks, loggers, tmp_path)
    return whole, later


@pytest.mark.parametrize(
    "node", [{}, {"fast_dev_run": True}, {"max_time": "00:00:01:00"}, {"enable_model_summary": True}]
)
def test_a_trainer_that_is_given_its_parts_later_is_the_same(node: dict[str, Any], tmp_path: Path) -> None:
    whole, later = both(tmp_path, [Progress(10)], **node)
    assert [type(one) for one in later.callbacks] == [type(one) for one in whole.callbacks]
    assert later.default_root_dir == whole.default_root_dir
    assert [type(one) for one in later.loggers] == [type(one) for one in whole.loggers]
    assert any(isinstance(one, DummyLogger) for one in later.loggers) == ("fast_dev_run" in node)


@pytest.mark.parametrize(
    ("callbacks", "node"),
    [
        ([Progress(10)], {"enable_progress_bar": False}),
        ([Progress(10), Progress(10)], {}),
        ([ModelCheckpoint()], {}),
    ],
)
def test_what_the_constructor_refuses_is_refused_later_too(
    callbacks: list[Any], node: dict[str, Any], tmp_path: Path
) -> None:
    options = {**QUIET, **node}
    with pytest.raises(MisconfigurationException):
        Trainer(**options, callbacks=list(callbacks), logger=False)
    with pytest.raises(MisconfigurationException):
        attach(Trainer(**options, callbacks=[], logger=False), options, callbacks, [], tmp_path)


def test_other_processes_are_not_killed_by_an_interrupt() -> None:
    class Process:
        def send_signal(self, number: int) -> None:
            raise AssertionError("killed")

    strategy = DDPStrategy()
    launcher = ScriptLauncher(strategy.cluster_environment, num_processes=2, num_nodes=1)
    launcher.procs = watched = [Process()]
    leave_alone(launcher)
    launcher.kill(9)
    assert len(watched) == 1, "the observer that watches them has this list"
